"""The teachers: four programs that reason in different ways, and a weak one that slips.

They are synthetic. Each knows the family's rules and writes from the problem's numbers and names;
none is a language model, and the search of ``backtracking`` is staged: its wrong candidates are
chosen to be wrong, though each is tested as written.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from nt_lightning.pool.embedded.family import Draft, Family, draft

WEAK = "weak"
SLIP = 0.12  # chance of a mistake in one elementary operation; our choice


def step_by_step(family: Family[Any], problem: Any, rng: Random) -> Draft:
    """One small operation a line; what a small student learns most easily."""
    return family.derive(problem)


def terse(family: Family[Any], problem: Any, rng: Random) -> Draft:
    """A single condensed line."""
    return draft([family.condense(problem)], family.solve(problem), "shortcut", *family.condensed)


def self_verifying(family: Family[Any], problem: Any, rng: Random) -> Draft:
    """Another derivation, and a check of its result by an independent way."""
    return family.verify(problem)


def backtracking(family: Family[Any], problem: Any, rng: Random) -> Draft:
    """Guess and test: every candidate called wrong is wrong, for the reason given."""
    return family.search(problem, rng)


TEACHERS: dict[str, Callable[[Family[Any], Any, Random], Draft]] = {
    "step_by_step": step_by_step,
    "terse": terse,
    "self_verifying": self_verifying,
    "backtracking": backtracking,
}


def weak_answer(family: Family[Any], problem: Any, rng: Random) -> str:
    """The second teacher's answer: no reasoning, and the more mistakes the longer the way.

    Each elementary operation goes wrong with probability ``SLIP``.
    """
    slips = any(rng.random() < SLIP for _ in range(family.size(problem)))
    return family.slip(problem, rng) if slips else family.solve(problem)
