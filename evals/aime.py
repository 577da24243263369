"""AIME 2024 and 2025: competition mathematics, the answer a whole number in a box."""

from __future__ import annotations

import re

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable
from nt_lightning.evaluation.table_rows import TableRow

_ANSWER = re.compile(r"(\d{1,3})(?:\^\{?\\circ\}?)?")  # one set writes the unit of an angle


class AIME(HubBenchmark):
    r"""30 problems of a year, papers I and II; the answer is a whole number from 0 to 999.

    The prompt is that of MATH-500: the problem and ``Put your final answer within \boxed{}.``
    (our choice); the competition has no prompt, and models are asked zero-shot. With so few
    problems a score needs many repeats.

    Args:
        path: A local file with the columns ``id``, ``problem`` and ``answer``: JSONL, JSON (a
            list), Parquet or CSV; ``None`` loads it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: American Invitational Mathematics Examination, Mathematical Association of America.
    """

    columns = ("id", "problem", "answer")

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A problem and its number, without leading zeros."""
        stem = row.text("problem").strip()
        answer = _ANSWER.fullmatch(row.text("answer").strip())
        if answer is None:
            raise row.error("column 'answer' has no whole number from 0 to 999")
        return Problem(
            id=row.text("id"),
            question=f"{stem}\n\nPut your final answer within \\boxed{{}}.",
            reference_answer=str(int(answer[1])),
            kind="boxed",
            metadata={"stem": stem},
        )


class AIME2024(AIME):
    """Papers I and II of 2024, 30 problems."""

    name = "aime_2024"
    table = HubTable(
        "HuggingFaceH4/aime_2024",
        split="train",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        size=30,
    )


class AIME2025(AIME):
    """Papers I and II of 2025, 30 problems."""

    name = "aime_2025"
    table = HubTable(
        "math-ai/aime25",
        split="test",
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        size=30,
    )
