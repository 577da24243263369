"""MATH-500: competition mathematics, the answer in a box."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.grading import math_equal

HUB_ID = "HuggingFaceH4/MATH-500"
COLUMNS = ("problem", "answer", "subject", "level", "unique_id")


class Math500(Benchmark):
    r"""500 problems of MATH, graded by math-verify.

    The prompt is the problem and ``Put your final answer within \boxed{}.`` (our choice: the usual
    wording without "reason step by step", which would contradict No-Think).

    Args:
        path: A JSONL file with the columns of the Hub's data set; ``None`` loads
            ``HuggingFaceH4/MATH-500``, which needs the network once.
        seed: Order of the problems, so that the first n are a random sample.

    Source: Lightman et al., Let's Verify Step by Step (arXiv:2305.20050), the test split of
    openai/prm800k.
    """

    name = "math_500"
    version = "1"

    def __init__(self, path: str | None = None, seed: int = 0) -> None:
        self.path = path
        self.seed = seed

    def problems(self) -> list[Problem]:
        """All problems of the file, in the order of the seed."""
        return self._problems

    def grade(self, problem: Problem, answer: str) -> bool:
        """Whether the boxed answer equals the reference as mathematics."""
        return math_equal(problem.reference_answer, answer)

    @cached_property
    def _problems(self) -> list[Problem]:
        problems = [self._problem(row, place) for row, place in self._rows()]
        return sorted(problems, key=lambda problem: _rank(self.seed, problem.id))

    def _rows(self) -> Iterator[tuple[dict[str, Any], str]]:
        if self.path is None:
            for index, row in enumerate(_load_from_hub()):
                yield row, f"{HUB_ID}, row {index}"
            return
        file = Path(self.path)
        if not file.is_file():
            raise UserError(
                f"Math500: path is {self.path!r}, which is no file; download test.jsonl from "
                f"https://huggingface.co/datasets/{HUB_ID}, or leave path out to load it"
            )
        with file.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield json.loads(line), f"{file}, line {number}"
                except ValueError as error:
                    raise UserError(f"Math500: {file}, line {number}: {error}") from None

    @staticmethod
    def _problem(row: dict[str, Any], place: str) -> Problem:
        missing = [name for name in COLUMNS if name not in row]
        if missing:
            raise UserError(
                f"Math500: {place} has no column {missing[0]!r}; needed: {', '.join(COLUMNS)}, "
                f"as in https://huggingface.co/datasets/{HUB_ID}"
            )
        return Problem(
            id=row["unique_id"],
            question=f"{row['problem']}\n\nPut your final answer within \\boxed{{}}.",
            reference_answer=row["answer"],
            kind="boxed",
            domain=row["subject"],
            metadata={"level": row["level"]},
        )


def _load_from_hub() -> Iterable[dict[str, Any]]:
    from datasets import load_dataset

    try:
        return load_dataset(HUB_ID, split="test")  # type: ignore[no-any-return]
    except OSError as error:  # the Hub's errors are all of this kind
        raise UserError(
            f"Math500: path is None, but {HUB_ID} cannot be loaded: {error}; give path, the file "
            f"test.jsonl of https://huggingface.co/datasets/{HUB_ID}"
        ) from None


def _rank(seed: int, problem_id: str) -> str:
    return hashlib.sha256(f"{seed}/{problem_id}".encode()).hexdigest()
