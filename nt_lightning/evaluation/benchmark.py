"""What a benchmark is: problems in a fixed order, and a judge of answers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nt_lightning.errors import UserError

AnswerKind = Literal["boxed", "letter", "number", "exact"]


@dataclass(frozen=True)
class Problem:
    """One problem as it is asked.

    Args:
        id: Unique within the benchmark; standard errors are clustered by it.
        question: Text that goes into the user's turn, before the mode's instruction.
        reference_answer: The gold answer.
        kind: How the answer is taken out of a response (``extraction.extract``).
        domain: Subject, for results by domain; empty without one.
        metadata: Whatever ``Benchmark.grade`` needs besides; ``options`` holds the option letters
            of a ``letter`` problem, A to J by default. ``stem`` and ``option_texts`` hold the bare
            question and its options where ``question`` has more than that around them.
    """

    id: str
    question: str
    reference_answer: str
    kind: AnswerKind
    domain: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Benchmark(ABC):
    """A named, versioned list of problems and the rule that judges an answer.

    Attributes:
        name: Part of metric names and file names; no blank, no slash.
        version: Changes whenever problems, prompts or grading change.
        is_confidential: Whether its texts are to stay out of what may be shared: prompts, responses
            and answers (but for letters) are not stored, also not in the cache.
    """

    name: str
    version: str
    is_confidential: bool = False

    @abstractmethod
    def problems(self) -> list[Problem]:
        """All problems, shuffled or interleaved, so that any first n of them are a fair sample.

        Equal on every call, rank and machine.
        """

    @abstractmethod
    def grade(self, problem: Problem, answer: str) -> bool:
        """Whether an extracted answer is right.

        Raises:
            UngradedError: The judge gave no verdict.
        """

    def variant(self, problem: Problem, repeat: int) -> Problem:
        """The problem as it is asked in one run over the benchmark, with the same id.

        Args:
            problem: One of ``problems()``.
            repeat: Number of the run, from 0; run 0 asks the problem as it is.

        Returns:
            The problem itself, unless a benchmark puts its options in another order each time.
        """
        return problem

    def baselines(self, problems: Sequence[Problem]) -> dict[str, float]:
        """Accuracy in [0, 1] that no model is needed for, by name (``chance``, ``majority``).

        Args:
            problems: All of ``problems()``, however few are asked: a guesser would know a handful.
        """
        return {}


def check_benchmarks(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse what would fail, or mix up results, hours later; reads all problems.

    Raises:
        UserError: No benchmark, a name that is taken or does not suit a file, no problems, or two
            problems with one id.
    """
    if not benchmarks:
        raise UserError("benchmarks is empty; give at least one")
    for name, count in Counter(benchmark.name for benchmark in benchmarks).items():
        if count > 1:
            raise UserError(f"{count} benchmarks are called {name!r}; their names must differ")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"a benchmark is called {name!r}; allowed: letters, digits, _.+-")
    for benchmark in benchmarks:
        ids = Counter(problem.id for problem in benchmark.problems())
        if not ids:
            raise UserError(f"benchmark {benchmark.name!r} has no problems")
        twice, count = ids.most_common(1)[0]
        if count > 1:
            raise UserError(
                f"{count} problems of benchmark {benchmark.name!r} have the id {twice!r}"
            )
