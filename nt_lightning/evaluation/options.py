"""Options of a multiple-choice question: letters, and an order that needs no generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nt_lightning.evaluation.benchmark import Problem


@dataclass(frozen=True)
class Options:
    """Options in the order in which they are shown.

    Args:
        texts: One text per option, at most 26.
        gold: Place of the right one, from 0.

    Raises:
        ValueError: There are too many, or ``gold`` is not among them.
    """

    texts: tuple[str, ...]
    gold: int

    def __post_init__(self) -> None:
        if len(self.texts) > len(ascii_uppercase):
            raise ValueError(f"{len(self.texts)} options; allowed: up to {len(ascii_uppercase)}")
        if not 0 <= self.gold < len(self.texts):
            raise ValueError(f"the right option is number {self.gold + 1} of {len(self.texts)}")

    @property
    def letters(self) -> str:
        """Exactly the letters that there are: ``ABCD``."""
        return ascii_uppercase[: len(self.texts)]

    @property
    def gold_letter(self) -> str:
        """Letter of the right option."""
        return self.letters[self.gold]

    def shuffled(self, problem_id: str, seed: int, repeat: int) -> Options:
        """The same options in the order of (problem, seed, repeat)."""
        order = option_order(problem_id, seed, repeat, len(self.texts))
        return Options(tuple(self.texts[place] for place in order), order.index(self.gold))

    def lines(self, mark: str = ")") -> str:
        """One option a line: ``A) first``."""
        pairs = zip(self.letters, self.texts, strict=True)
        return "\n".join(f"{letter}{mark} {text}" for letter, text in pairs)

    def listed(self, conjunction: str = "or") -> str:
        """The letters as a sentence names them: ``A, B, C, or D``."""
        if len(self.texts) < 3:
            return f" {conjunction} ".join(self.letters)
        return f"{', '.join(self.letters[:-1])}, {conjunction} {self.letters[-1]}"


def option_order(problem_id: str, seed: int, repeat: int, count: int) -> list[int]:
    """Places of ``count`` options in the order in which they are shown.

    A hash of (problem, seed, repeat) and nothing else decides, so that the right option is
    everywhere equally often, whatever was asked before, on every machine and in every process.
    """

    def draw(place: int) -> bytes:
        return hashlib.sha256(f"{seed}/{repeat}/{problem_id}/{place}".encode()).digest()

    return sorted(range(count), key=draw)


def chance(problems: Sequence[Problem]) -> float:
    """Accuracy in [0, 1] of guessing one of each problem's options."""
    return sum(1 / len(problem.metadata["options"]) for problem in problems) / len(problems)
