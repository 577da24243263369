"""What a benchmark is: problems in a fixed order, and a judge of answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
        metadata: Whatever ``Benchmark.grade`` needs besides.
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
    """

    name: str
    version: str

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

    def baselines(self) -> dict[str, float]:
        """Accuracy in [0, 1] that no model is needed for, by name (``chance``, ``majority``)."""
        return {}
