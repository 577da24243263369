"""Drawing questions: one side for training, one held out, disjoint for every seed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.pool.embedded.arguments import check_families, check_level, check_number
from nt_lightning.pool.embedded.families import FAMILIES
from nt_lightning.pool.embedded.family import Entry

HELD_OUT_ONE_IN = 5
PATIENCE = 5_000  # draws in a row without a new question: the family is exhausted; our choice


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question that no embedded pool trains on."""

    id: str
    question: str
    reference_answer: str
    family: str
    domain: str
    entry: Entry


def item_random(*key: object) -> Random:
    """A generator of its own for an item, the same for the same key."""
    text = "/".join(map(str, key))
    return Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))


def is_held_out(family: str, operands: tuple[Any, ...]) -> bool:
    """The side of a question, by a hash of its operands: one in five is held out.

    Seed, level and wording play no part, so no held-out question shares its text or its operand
    tuple with any training question, whatever either was drawn with.
    """
    text = json.dumps([family, operands])
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


class _Taken:
    """The questions of a draw so far, and how often others were passed over for which reason."""

    def __init__(self, family: str, level: str, held_out: bool, limit: int) -> None:
        self.family, self.level, self.held_out, self.limit = family, level, held_out, limit
        self.entries: list[Entry] = []
        self.passed: Counter[str] = Counter()
        self._seen: set[Any] = set()
        self._answers: Counter[str] = Counter()

    def offer(self, entry: Entry) -> bool:
        """Take an entry, or count why not."""
        kind, answer = FAMILIES[self.family], entry["answer"]
        problem = kind.parse(entry)
        if problem is None or not kind.fits(problem, self.level):
            return self._pass("out of scope at this level")
        operands = kind.operands(problem)
        if is_held_out(self.family, operands) != self.held_out:
            return self._pass("the other side")
        if operands in self._seen or entry["question"] in self._seen:
            return self._pass("drawn already")
        if self._answers[answer] >= self.limit:
            return self._pass("answer too frequent")
        self._seen.update((operands, entry["question"]))
        self._answers[answer] += 1
        self.entries.append(entry)
        return True

    def _pass(self, reason: str) -> bool:
        self.passed[reason] += 1
        return False


def draw(
    family: str, count: int, level: str, seed: int, held_out: bool
) -> tuple[list[Entry], Counter[str]]:
    """Draw distinct questions of one family.

    No answer takes more than the family's ``max_answer_share`` of the questions, and at least two
    may share one, so that guessing stays poor.

    Args:
        family: Name of the family.
        count: Questions wanted.
        level: Difficulty, one of ``LEVELS``.
        seed: Seed of the draw.
        held_out: Which side to draw from.

    Returns:
        The entries, and how many draws were passed over for which reason.

    Raises:
        UserError: The family has fewer questions on that side.
    """
    kind = FAMILIES[family]
    taken = _Taken(family, level, held_out, max(2, int(kind.max_answer_share * count)))
    first = item_random(seed, family, level, held_out).randrange(2**31)
    fruitless = 0
    for entry in kind.generate(level, first):
        if len(taken.entries) == count or fruitless == PATIENCE:
            break
        fruitless = 0 if taken.offer(entry) else fruitless + 1
    if len(taken.entries) < count:
        side = "held-out" if held_out else "training"
        raise UserError(
            f"family {family} at level {level}: {count} {side} questions wanted, only "
            f"{len(taken.entries)} available; ask for fewer questions, more families or a harder "
            "level"
        )
    return taken.entries, taken.passed


def held_out_questions(
    families: Sequence[str] | None = None,
    num_problems: int = 160,
    level: str = "easy",
    seed: int = 0,
) -> list[HeldOutQuestion]:
    """Questions that share neither text nor operand tuple with any embedded pool.

    Args:
        families: Names of families; None takes the default ones.
        num_problems: Questions in all, spread evenly; the first families get the remainder.
        level: ``easy``, ``medium`` or ``hard``.
        seed: Seed of the draw; disjointness holds for every seed.

    Returns:
        The questions, families taking turns, so that any first part is balanced.

    Raises:
        UserError: An argument is not allowed, or a family has too few questions.
    """
    names = check_families(families)
    check_level(level)
    check_number("num_problems", num_problems, len(names))
    drawn = {
        name: draw(name, share, level, seed, held_out=True)[0]
        for name, share in shares(names, num_problems).items()
    }
    return [
        HeldOutQuestion(
            id=f"{name}-{level}-{seed}-held-out-{index:05d}",
            question=entry["question"],
            reference_answer=entry["answer"],
            family=name,
            domain=FAMILIES[name].domain,
            entry=entry,
        )
        for name, index, entry in take_turns(drawn)
    ]


def take_turns(drawn: dict[str, list[Entry]]) -> list[tuple[str, int, Entry]]:
    """Family, index and entry, the families taking turns."""
    indexed = [(index, name, entry) for name, es in drawn.items() for index, entry in enumerate(es)]
    return [
        (name, index, entry) for index, name, entry in sorted(indexed, key=lambda item: item[0])
    ]


def shares(names: Sequence[str], total: int) -> dict[str, int]:
    """``total`` spread evenly; the first names get one more where it does not divide."""
    each, more = divmod(total, len(names))
    return {name: each + (place < more) for place, name in enumerate(names)}
