"""One statement to be found among several."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then


class Haystack(NamedTuple):
    """Who does what, in order, and what is asked for."""

    facts: tuple[tuple[str, str], ...]
    wanted: str

    @property
    def needle(self) -> int:
        """Where the one fact that is asked for stands, from 0."""
        return next(i for i, (_, deed) in enumerate(self.facts) if deed == self.wanted)


class NeedleHaystack(Family[Haystack]):
    """One statement to be found among several."""

    name = "needle_haystack"
    domain = "cognition"
    levels = {
        "easy": {"min_num_statements": 3, "max_num_statements": 4},
        "medium": {"min_num_statements": 8, "max_num_statements": 12},
        "hard": {"min_num_statements": 25, "max_num_statements": 40},
    }

    def parse(self, entry: Entry) -> Haystack | None:
        """The statements; None where a name is not one word, or a name or a deed appears twice."""
        story = entry["question"].rsplit("\n", 1)[0]
        asked = re.match(r"Who (.*)\? Reply only", entry["metadata"]["question"])
        facts = [tuple(text.split(" ", 1)) for text in story.strip().rstrip(".").split(". ")]
        if asked is None or any(len(fact) != 2 for fact in facts):
            return None
        problem = Haystack(tuple((name, deed) for name, deed in facts), asked[1])
        names, deeds = {name for name, _ in facts}, [deed for _, deed in facts]
        unique = len(names) == len(facts) and deeds.count(asked[1]) == 1
        return problem if unique else None

    def operands(self, problem: Haystack) -> tuple[Any, ...]:
        """What is asked for and the set of facts."""
        return (problem.wanted, *sorted(problem.facts))

    def size(self, problem: Haystack) -> int:
        """One operation a statement."""
        return len(problem.facts)

    def solve(self, problem: Haystack) -> str:
        """The name in the statement."""
        return problem.facts[problem.needle][0]

    def derive(self, problem: Haystack) -> Draft:
        """Say what is looked for, then find it."""
        name = self.solve(problem)
        lines = first_then([f"look for who {problem.wanted}.", f"find: {name} {problem.wanted}."])
        return draft(lines, name, "step-by-step", "lookup")

    def condense(self, problem: Haystack) -> str:
        """The statement itself."""
        return f"{self.solve(problem)} {problem.wanted}"

    def verify(self, problem: Haystack) -> Draft:
        """Go through all statements; check from the last one."""
        marks = ["yes" if deed == problem.wanted else "no" for _, deed in problem.facts]
        seen = [f"{name} {mark}" for (name, _), mark in zip(problem.facts, marks, strict=True)]
        numbered = ", ".join(f"{place} {text}" for place, text in enumerate(seen, start=1))
        lines = [
            f"List: {numbered}.",
            f"Check: from the last one, {', '.join(reversed(seen))}, so only one fits.",
        ]
        used = ["working-backward", "self-verification"] + (
            ["enumeration"] if len(seen) > 1 else []
        )
        return draft(lines, self.solve(problem), *used)

    def candidates(self, problem: Haystack, rng: Random) -> Iterable[str]:
        """One to three names of other statements, in order, then the right one."""
        right = self.solve(problem)
        others = [name for name, _ in problem.facts if name != right]
        count = rng.randint(1, min(3, len(others)))
        for place in sorted(rng.sample(range(len(others)), count)):
            yield others[place]
        yield right

    def test(self, problem: Haystack, candidate: str) -> Finding:
        """Read the candidate's own statement."""
        deed = dict(problem.facts)[candidate]
        return Finding(f"{candidate} {deed}", deed == problem.wanted)

    def slip(self, problem: Haystack, rng: Random) -> str:
        """Takes the name of a neighbouring statement."""
        places = [problem.needle - 1, problem.needle + 1]
        return problem.facts[rng.choice([p for p in places if 0 <= p < len(problem.facts)])][0]
