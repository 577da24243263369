"""Alice in Wonderland: how many sisters does her brother have?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then

_SIBLINGS = re.compile(
    r"(?P<she>\w+) has (?P<men>\d+) brothers and she also has (?P<women>\d+) sisters\. "
    r"How many sisters does (?P=she)'s brother have\?"
)
_FRIENDS = re.compile(
    r"(?P<she>\w+) has (?P<men>\d+) male friends and she also has (?P<women>\d+) female friends\. "
    r".* How many female friends does (?P<he>\w+), a male friend of (?P=she), have\?"
)


class Circle(NamedTuple):
    """A woman's circle of siblings or friends, and the man in it who is asked about."""

    she: str
    he: str
    men: int
    women: int
    kin: str  # "sisters" or "female friends"


class AliceInWonderland(Family[Circle]):
    """A woman's brothers and sisters, or friends, seen from one of the men.

    Of the generator's questions three kinds are out of scope: the sibling question that names an
    unrelated man, and the one about colleagues, whose gold answers do not follow from the text;
    and any that reads otherwise.
    """

    name = "aiw"
    domain = "logic"
    searched = frozenset({"calculation"})
    levels = {
        "easy": {"max_entities": 9},
        "medium": {"max_entities": 30},
        "hard": {"max_entities": 99},
    }

    def parse(self, entry: Entry) -> Circle | None:
        """The circle as the text states it."""
        if found := _SIBLINGS.fullmatch(entry["question"]):
            he = f"{found['she']}'s brother"
            return Circle(found["she"], he, int(found["men"]), int(found["women"]), "sisters")
        if found := _FRIENDS.fullmatch(entry["question"]):
            numbers = int(found["men"]), int(found["women"])
            return Circle(found["she"], found["he"], *numbers, "female friends")
        return None

    def operands(self, problem: Circle) -> tuple[Any, ...]:
        """Kind and numbers; the names do not matter."""
        return (problem.kin, problem.men, problem.women)

    def size(self, problem: Circle) -> int:
        """Finding the number, seeing that she counts, adding."""
        return 3

    def solve(self, problem: Circle) -> str:
        """She is one of them."""
        return str(problem.women + 1)

    def derive(self, problem: Circle) -> Draft:
        """Who they are, then how many."""
        she, he, _, women, kin = problem
        lines = first_then(
            [f"{he} has {she}'s {women} {kin} and {she}.", f"{women} + 1 = {women + 1}."]
        )
        return draft(lines, self.solve(problem), "step-by-step", "calculation")

    def condense(self, problem: Circle) -> str:
        """The sum alone."""
        return f"{problem.women} + {problem.she} -> {problem.women + 1}"

    def verify(self, problem: Circle) -> Draft:
        """Count all women of the circle, of whom he is none; check from her side."""
        she, he, men, women, kin = problem
        lines = [
            f"Put another way: of the circle of 1 + {men} + {women} = {1 + men + women} people "
            f"{men} are men, which leaves {1 + men + women} - {men} = {women + 1} women.",
            f"All of them are {kin} of {he}.",
            f"Check: {she} sees the women but herself, {women + 1} - 1 = {women}, as stated.",
        ]
        return draft(lines, self.solve(problem), "calculation", "reframing", "self-verification")

    def candidates(self, problem: Circle, rng: Random) -> Iterable[str]:
        """Without her, or one too many; then with her."""
        yield str(problem.women + rng.choice([0, 0, 2]))
        yield str(problem.women + 1)

    def test(self, problem: Circle, candidate: str) -> Finding:
        """Take her away again: the stated number must come out."""
        stated, left = problem.women, int(candidate) - 1
        text = f"without {problem.she} that is {candidate} - 1 = {left}"
        if left == stated:
            return Finding(f"{text}, her own {problem.kin} as stated", True)
        return Finding(f"{text}, but she has {stated} {problem.kin}", False)

    def slip(self, problem: Circle, rng: Random) -> str:
        """Forgets that she counts, or counts the men."""
        return str(rng.choice([problem.women, problem.women, problem.men, problem.men + 1]))
