"""Number sequences with a simple rule."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import (
    Draft,
    Entry,
    Family,
    Finding,
    draft,
    first_then,
    number,
)

Terms = tuple[int, ...]


class Rule(NamedTuple):
    """The next number is ``factor * last + shift``, plus the one before the last if ``back``."""

    factor: int = 1
    shift: int = 0
    back: bool = False

    def after(self, before: int, last: int) -> int:
        """The next number."""
        return self.factor * last + self.shift + (before if self.back else 0)

    def pairs(self, terms: Terms) -> list[tuple[int, int, int]]:
        """Every (before, last, following) that the rule speaks of."""
        befores = (0, *terms)
        triples = list(zip(befores, terms, terms[1:], strict=False))
        return triples[1:] if self.back else triples

    def explains(self, terms: Terms) -> bool:
        """Whether each term follows from the ones before it."""
        return all(self.after(before, last) == then for before, last, then in self.pairs(terms))

    def show(self, before: int, last: int) -> str:
        """The calculation of the next number."""
        if self.back:
            return f"{last} + {number(before)} = {last + before}"
        product = self.factor * last
        parts = [] if self.factor == 1 else [f"{last} * {number(self.factor)} = {product}"]
        if self.shift:
            sign = "+" if self.shift > 0 else "-"
            parts.append(f"{product} {sign} {abs(self.shift)} = {product + self.shift}")
        return ", ".join(parts)

    def shown(self, terms: Terms) -> list[str]:
        """The calculation of every term."""
        return [self.show(before, last) for before, last, _ in self.pairs(terms)]

    def __str__(self) -> str:
        if self.back:
            return "adding the two last numbers"
        steps = [] if self.factor == 1 else [f"multiplying by {self.factor}"]
        if self.shift:
            steps.append(f"{'adding' if self.shift > 0 else 'subtracting'} {abs(self.shift)}")
        return " and ".join(steps)


def rules(terms: Terms) -> list[Rule]:
    """Every rule of ours that explains at least three terms: at most two."""
    first, second, third = terms[:3]
    found = [Rule(back=True)]
    if first != second and (third - second) % (second - first) == 0:
        factor = (third - second) // (second - first)
        found.append(Rule(factor, second - factor * first))
    return [rule for rule in found if rule.factor and rule.explains(terms)]


class NumberSequence(Family[Terms]):
    """Number sequences with a simple rule; the problem is the visible terms."""

    name = "number_sequence"
    domain = "cognition"
    condensed = frozenset({"calculation"})
    searched = frozenset({"calculation"})
    levels = {
        "easy": {"max_complexity": 1, "max_terms": 4},
        "medium": {"max_complexity": 1, "max_terms": 6},
        "hard": {"max_complexity": 2, "max_terms": 6},
    }

    def parse(self, entry: Entry) -> Terms | None:
        """The visible terms; None where no rule of ours explains them, or two of them disagree."""
        terms = tuple(entry["metadata"]["sequence"][:-1])
        return terms if len({rule.after(*terms[-2:]) for rule in rules(terms)}) == 1 else None

    def fits(self, problem: Terms, level: str) -> bool:
        """At the easy level 1 to 10 is added each time; else every term lies within 300."""
        if level == "easy":
            return self._rule(problem) in [Rule(shift=shift) for shift in range(1, 11)]
        return max(map(abs, problem)) <= 300

    def operands(self, problem: Terms) -> tuple[Any, ...]:
        """The first four terms: a longer piece of the same sequence is the same question."""
        return problem[:4]

    def size(self, problem: Terms) -> int:
        """One operation a term."""
        return len(problem)

    def solve(self, problem: Terms) -> str:
        """The next term."""
        return str(self._rule(problem).after(*problem[-2:]))

    def derive(self, problem: Terms) -> Draft:
        """Apply the rule from term to term, and once more."""
        rule = self._rule(problem)
        lines = first_then(f"{text}." for text in rule.shown(problem))
        lines.append(f"Next {rule.show(*problem[-2:])}.")
        return draft(lines, self.solve(problem), "step-by-step", "calculation", "pattern-finding")

    def condense(self, problem: Terms) -> str:
        """The last calculation alone."""
        return self._rule(problem).show(*problem[-2:])

    def verify(self, problem: Terms) -> Draft:
        """Gaps between neighbours, then the rule; check it on every term."""
        rule, answer = self._rule(problem), self.solve(problem)
        gaps = [f"{b} - {number(a)} = {b - a}" for a, b in zip(problem, problem[1:], strict=False)]
        lines = [
            f"Part 1, the gaps: {', '.join(gaps)}.",
            f"Part 2, the rule is {rule}: {rule.show(*problem[-2:])}.",
            f"Check: {', '.join(rule.shown(problem))}, all as listed.",
        ]
        return draft(lines, answer, "calculation", "decomposition", "self-verification")

    def candidates(self, problem: Terms, rng: Random) -> Iterable[Rule]:
        """One or two rules that come to mind and fail, then the right one."""
        first, second = problem[:2]
        guesses = [Rule(shift=second - first + miss) for miss in (-1, 1, 2)]
        guesses += [Rule(factor=2), Rule(back=True)]
        wrong = [rule for rule in guesses if rule != Rule() and not rule.explains(problem)]
        yield from rng.sample(wrong, rng.choice([1, 1, 2]))
        yield self._rule(problem)

    def test(self, problem: Terms, candidate: Rule) -> Finding:
        """Apply the rule until a term differs."""
        shown = []
        for before, last, then in candidate.pairs(problem):
            shown.append(candidate.show(before, last))
            if candidate.after(before, last) != then:
                return Finding(f"{', '.join(shown)}, but {then} is listed", False)
        return Finding(f"{', '.join(shown)}, all as listed", True)

    def search(self, problem: Terms, rng: Random) -> Draft:
        """Try rules; the one that holds gives the next number."""
        found = super().search(problem, rng)
        lines = [*found.lines, f"Next {self._rule(problem).show(*problem[-2:])}."]
        return Draft(lines, found.strategies | {"pattern-finding"}, self.solve(problem))

    def slip(self, problem: Terms, rng: Random) -> str:
        """Repeats the last gap whatever the rule, is off by one, or stops at the last term."""
        gap = problem[-1] - problem[-2]
        right = int(self.solve(problem))
        return str(rng.choice([problem[-1] + gap + 1, right - 1, right + 1, right + gap]))

    def _rule(self, problem: Terms) -> Rule:
        return rules(problem)[0]
