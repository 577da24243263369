"""Sums and differences of several numbers."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then


class Sum(NamedTuple):
    """``4 - 0 + 3`` as values (4, 0, 3) and signs (1, -1, 1)."""

    values: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def totals(self) -> list[int]:
        """The running totals, the first value included."""
        totals = [self.values[0]]
        for value, sign in zip(self.values[1:], self.signs[1:], strict=True):
            totals.append(totals[-1] + sign * value)
        return totals


class ChainSum(Family[Sum]):
    """Sums and differences of several numbers."""

    name = "chain_sum"
    domain = "arithmetic"
    searched = frozenset({"calculation", "working-backward"})
    levels = {
        "easy": {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1},
        "medium": {"min_terms": 3, "max_terms": 5, "min_digits": 1, "max_digits": 2},
        "hard": {"min_terms": 4, "max_terms": 7, "min_digits": 2, "max_digits": 3},
    }

    def parse(self, entry: Entry) -> Sum:
        """Values and signs from the expression."""
        first, *rest = entry["metadata"]["expression"].split()
        signs = (1 if sign == "+" else -1 for sign in rest[::2])
        return Sum((int(first), *map(int, rest[1::2])), (1, *signs))

    def fits(self, problem: Sum, level: str) -> bool:
        """At the easy level every running total lies within 0..10."""
        return level != "easy" or all(0 <= total <= 10 for total in problem.totals)

    def operands(self, problem: Sum) -> tuple[Any, ...]:
        """Signed terms in ascending order: their order in the sum does not matter."""
        return tuple(sorted(zip(problem.values, problem.signs, strict=True)))

    def size(self, problem: Sum) -> int:
        """One operation a term."""
        return len(problem.values)

    def solve(self, problem: Sum) -> str:
        """The last running total."""
        return str(problem.totals[-1])

    def derive(self, problem: Sum) -> Draft:
        """Running totals from the left."""
        lines = first_then(f"{text}." for text in _running(problem))
        return draft(lines, self.solve(problem), "step-by-step", "calculation")

    def condense(self, problem: Sum) -> str:
        """The running totals alone."""
        return " -> ".join(map(str, problem.totals))

    def verify(self, problem: Sum) -> Draft:
        """Added and subtracted numbers apart, checked by the running totals."""
        pairs = list(zip(problem.values, problem.signs, strict=True))
        added = [value for value, sign in pairs if sign > 0]
        taken = [value for value, sign in pairs if sign < 0]
        lines = [
            f"Part 1, the added numbers: {_added_up(added)}.",
            f"Part 2, the subtracted numbers: {_added_up(taken)}.",
            f"Together: {sum(added)} - {sum(taken)} = {sum(added) - sum(taken)}.",
            f"Check: {', '.join(_running(problem))}, the same.",
        ]
        answer = str(sum(added) - sum(taken))
        return draft(lines, answer, "calculation", "decomposition", "self-verification")

    def candidates(self, problem: Sum, rng: Random) -> Iterable[str]:
        """A near miss, then one step nearer each time."""
        miss = rng.choice([-2, -1, 1, 2])
        step = 1 if miss < 0 else -1
        for distance in range(miss, step, step):
            yield str(problem.totals[-1] + distance)

    def test(self, problem: Sum, candidate: str) -> Finding:
        """Undo the sum from the end: the start must come out."""
        total, undone = int(candidate), []
        for value, sign in zip(problem.values[:0:-1], problem.signs[:0:-1], strict=True):
            left = total - sign * value
            undone.append(f"{total} {'-' if sign > 0 else '+'} {value} = {left}")
            total = left
        holds = total == problem.values[0]
        link = "and" if holds else "but"
        return Finding(
            f"undone from the end {', '.join(undone)}, {link} the start is {problem.values[0]}",
            holds,
        )

    def slip(self, problem: Sum, rng: Random) -> str:
        """Takes one sign for the other, drops a carry, or is off by one."""
        total = problem.totals[-1]
        pairs = list(zip(problem.values, problem.signs, strict=True))[1:]
        turned = [total - 2 * sign * value for value, sign in pairs if value]
        off = total + rng.choice([-10, -1, 1, 10] if total >= 10 else [-1, 1])
        return str(rng.choice([*turned, off]))


def _running(problem: Sum) -> list[str]:
    pairs = zip(problem.totals, problem.values[1:], problem.signs[1:], strict=False)
    return [
        f"{total} {'+' if sign > 0 else '-'} {value} = {total + sign * value}"
        for total, value, sign in pairs
    ]


def _added_up(values: list[int]) -> str:
    if len(values) < 2:
        return str(values[0]) if values else "none"
    return f"{' + '.join(map(str, values))} = {sum(values)}"
