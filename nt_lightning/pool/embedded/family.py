"""What a family of questions offers: a generator, four ways of reasoning, and a way of slipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

Entry = dict[str, Any]
P = TypeVar("P")

LEVELS = ("easy", "medium", "hard")


class Draft(NamedTuple):
    """A trace before it is verified: lines of reasoning, strategies its writer used, answer."""

    lines: list[str]
    strategies: frozenset[str]
    answer: str

    @property
    def reasoning(self) -> str:
        """The text inside the think block."""
        return "\n".join(self.lines)


class Finding(NamedTuple):
    """What testing a candidate showed: a true sentence, and whether the candidate holds."""

    text: str
    holds: bool


class Family(ABC, Generic[P]):
    """One reasoning-gym family, read from its entries and reasoned about in several ways.

    ``P`` is the problem as the reasoning needs it. Every sentence that a method writes is true;
    no method reads the gold answer.
    """

    name: ClassVar[str]
    domain: ClassVar[str]  # reasoning-gym's category
    levels: ClassVar[Mapping[str, Mapping[str, Any]]]  # arguments of the generator
    condensed: ClassVar[frozenset[str]] = frozenset()  # strategies of `condense`
    searched: ClassVar[frozenset[str]] = frozenset()  # strategies of every `test`
    max_answer_share: ClassVar[float] = 0.3  # no answer is more frequent; our choice

    @abstractmethod
    def parse(self, entry: Entry) -> P | None:
        """The problem, or None where the generator's question is out of scope."""

    def fits(self, problem: P, level: str) -> bool:
        """Whether a problem is small enough for a level, beyond the generator's arguments."""
        return True

    @abstractmethod
    def operands(self, problem: P) -> tuple[Any, ...]:
        """What makes two questions the same but for their wording, in a canonical order."""

    @abstractmethod
    def size(self, problem: P) -> int:
        """Elementary operations on the way to the answer."""

    @abstractmethod
    def solve(self, problem: P) -> str:
        """The answer, computed from the problem."""

    @abstractmethod
    def derive(self, problem: P) -> Draft:
        """One small operation a line, its inputs just before it."""

    @abstractmethod
    def condense(self, problem: P) -> str:
        """The same in a single line."""

    @abstractmethod
    def verify(self, problem: P) -> Draft:
        """Another derivation, and a check of its result by an independent way."""

    @abstractmethod
    def candidates(self, problem: P, rng: Random) -> Iterable[Any]:
        """What to try: plausible and wrong ones first, the right one last."""

    @abstractmethod
    def test(self, problem: P, candidate: Any) -> Finding:
        """Try a candidate against the question."""

    @abstractmethod
    def slip(self, problem: P, rng: Random) -> str:
        """The answer after one plausible mistake."""

    def search(self, problem: P, rng: Random) -> Draft:
        """Try candidates until one holds; say why each of the others is wrong."""
        lines: list[str] = []
        for candidate in self.candidates(problem, rng):
            found = self.test(problem, candidate)
            opening = "Go back and try" if lines else "Try"
            verdict = "right" if found.holds else "wrong"
            lines.append(f"{opening} {candidate}: {found.text}, so that is {verdict}.")
            if found.holds:
                used = {"trial-and-error"} | ({"backtracking"} if len(lines) > 1 else set())
                return Draft(lines, self.searched | used, str(candidate))
        raise AssertionError(f"{self.name}: no candidate holds for {problem}")

    def generate(self, level: str, seed: int) -> Iterator[Entry]:
        """Entries of the generator at a level, without end; item i depends on ``seed`` + i."""
        from reasoning_gym import create_dataset

        dataset = create_dataset(self.name, seed=seed, size=2**31, **self.levels[level])
        index = 0
        while True:
            yield dataset[index]
            index += 1

    @cached_property
    def scorer(self) -> Any:
        """The family's own ``score_answer``; reading a score needs no particular level."""
        from reasoning_gym import get_score_answer_fn

        return get_score_answer_fn(self.name)


def first_then(sentences: Iterable[str]) -> list[str]:
    """Lines that open with ``First``, then ``Then``."""
    return [f"{'Then' if index else 'First'} {text}" for index, text in enumerate(sentences)]


def draft(lines: list[str], answer: str, *strategies: str) -> Draft:
    """A draft from its parts."""
    return Draft(lines, frozenset(strategies), answer)


def number(value: int) -> str:
    """A number inside an expression: a negative one stands in brackets."""
    return f"({value})" if value < 0 else str(value)
