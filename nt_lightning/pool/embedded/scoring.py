"""Verdicts by a family's own scorer, and what guessing would get."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from nt_lightning.errors import UserError
from nt_lightning.pool.embedded.families import FAMILIES
from nt_lightning.pool.embedded.family import Entry

RIGHT_SCORE = 0.99  # below it reasoning-gym gives partial credit


class Asked(Protocol):
    """A question with its family and gold answer, as ``HeldOutQuestion`` is."""

    @property
    def family(self) -> str:
        """Name of the family."""

    @property
    def reference_answer(self) -> str:
        """Gold answer."""


class Guessing(NamedTuple):
    """Accuracy in 0..1 without reading the question.

    ``chance`` is one over the number of distinct answers, ``majority`` the share of the most
    frequent one.
    """

    chance: float
    majority: float
    num_questions: int


def score(family: str, answer: str, entry: Entry) -> bool:
    """Whether the family's own scorer calls an answer right.

    Some scorers raise or print on odd answers: a raise counts as wrong, output is swallowed.

    Args:
        family: Name of the family.
        answer: Answer without any words around it.
        entry: The reasoning_gym entry that the question came from.

    Raises:
        UserError: There is no such family.
    """
    if family not in FAMILIES:
        raise UserError(f"family is {family!r}; allowed: {', '.join(FAMILIES)}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return float(FAMILIES[family].scorer(answer, entry)) >= RIGHT_SCORE
    except Exception:  # scorers fail in many ways on text that no one foresaw
        return False


def guessing(answers: Iterable[tuple[str, str]]) -> dict[str, Guessing]:
    """What guessing gets in each family.

    Args:
        answers: Family and reference answer of each question.
    """
    counts: dict[str, Counter[str]] = {}
    for family, answer in answers:
        counts.setdefault(family, Counter())[answer] += 1
    return {
        family: Guessing(1 / len(found), max(found.values()) / found.total(), found.total())
        for family, found in counts.items()
    }


def baselines(questions: Iterable[Asked]) -> dict[str, float]:
    """Accuracy over all questions of a guesser that knows no more than the family.

    Returns:
        ``chance``: any of the family's answers with the same probability; ``majority``: always
        the family's most frequent one. Empty without questions.
    """
    found = guessing((asked.family, asked.reference_answer) for asked in questions).values()
    total = sum(one.num_questions for one in found)
    if not total:
        return {}
    return {
        "chance": sum(one.chance * one.num_questions for one in found) / total,
        "majority": sum(one.majority * one.num_questions for one in found) / total,
    }
