"""What is judged, a verdict, and the names of what decided or why nothing did."""

from __future__ import annotations

from typing import NamedTuple

# What can decide.
LETTER = "letter"
NUMBER = "number"
MATHEMATICS = "math-verify"
EXACT = "exact"
REASONING_GYM = "reasoning-gym"

# Why nothing did.
REASONS = {
    "no reference": "the reference answer is null or empty",
    "no answer": "the trace announces no answer, or one that cannot be told from its text",
    "free text": "the reference is text, and another text can say the same",
    "unparsed": "one of the two is no mathematics to math-verify, or text beside a number",
    "wording": "words beside the number may change it, or deny it",
    "rounding": "one of the two is the other, rounded or cut off, or is approximate by its words",
    "unit": "the numbers differ, but their units may differ too",
    "notation": "other variables, cases of letters, signs of relation, brackets, or another base",
    "timeout": "the comparison did not end in time",
    "failed": "the comparison raised an error or ended its process twice",
    "no config": "a reasoning-gym question without what makes it again",
    "question differs": "reasoning-gym makes another question of that config and index",
    "unsafe": "reasoning-gym would run the answer as a program",
}


class Announced(NamedTuple):
    """What a trace gives as its answer.

    Args:
        text: The answer.
        is_sure: It is announced and nothing else is, or it is all of a short trace; else it may
            be a part of the answer, or none, and cannot be held wrong.
        is_announced: It stands in a box, in tags or behind "the answer is".
    """

    text: str
    is_sure: bool
    is_announced: bool = True


class Verdict(NamedTuple):
    """Columns ``correct`` and ``verified_by`` of a trace.

    Args:
        correct: ``None``: unverifiable.
        by: What decided, or one of ``REASONS``.
    """

    correct: bool | None
    by: str


def undecided(reason: str) -> Verdict:
    """No verdict, for one of ``REASONS``."""
    assert reason in REASONS, reason
    return Verdict(None, reason)
