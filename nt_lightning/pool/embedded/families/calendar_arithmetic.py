"""The weekday some days before or after a given one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from nt_lightning.pool.embedded.family import Draft, Entry, Family, Finding, draft, first_then

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Offset(NamedTuple):
    """So many days after (before: negative) a date."""

    start: date
    days: int

    @property
    def rest(self) -> int:
        """Days to count, 0..7: whole weeks beyond the first change nothing."""
        return abs(self.days) if abs(self.days) <= 7 else abs(self.days) % 7

    @property
    def counted(self) -> list[str]:
        """The weekdays that are counted, the start not among them."""
        sign = 1 if self.days > 0 else -1
        return [weekday(self.start, sign * k) for k in range(1, self.rest + 1)]


class CalendarArithmetic(Family[Offset]):
    """The weekday some days before or after a given one."""

    name = "calendar_arithmetic"
    domain = "arithmetic"
    searched = frozenset({"working-backward"})
    levels = {
        "easy": {"tasks": ["weekday_offset"], "offset_upper_bound": 7},
        "medium": {"tasks": ["weekday_offset"], "offset_upper_bound": 30},
        "hard": {"tasks": ["weekday_offset"], "offset_upper_bound": 300},
    }

    def parse(self, entry: Entry) -> Offset:
        """Date and offset from the metadata."""
        facts = entry["metadata"]
        return Offset(date.fromisoformat(facts["start_date"]), facts["offset_days"])

    def fits(self, problem: Offset, level: str) -> bool:
        """At the easy level only forward."""
        return level != "easy" or problem.days > 0

    def operands(self, problem: Offset) -> tuple[Any, ...]:
        """Date and offset."""
        return (problem.start.isoformat(), problem.days)

    def size(self, problem: Offset) -> int:
        """One operation a counted day, three for taking out whole weeks."""
        return problem.rest + (3 if abs(problem.days) > 7 else 0)

    def solve(self, problem: Offset) -> str:
        """The last counted weekday."""
        return (problem.counted or [weekday(problem.start)])[-1]

    def derive(self, problem: Offset) -> Draft:
        """Count the days with their numbers."""
        used = {"step-by-step"} | ({"enumeration"} if problem.rest > 1 else set())
        sentences = [f"{weekday(problem.start)}, {_way(problem.days)}."]
        if abs(problem.days) > 7:
            used.add("calculation")
            weeks, rest = divmod(abs(problem.days), 7)
            sentences.append(
                f"{weeks} * 7 = {7 * weeks}, {7 * weeks} + {rest} = {7 * weeks + rest}."
            )
        counted = ", ".join(f"{k} {day}" for k, day in enumerate(problem.counted, start=1))
        sentences.append(f"{counted}." if counted else "no day is left to count.")
        return draft(first_then(sentences), self.solve(problem), *used)

    def condense(self, problem: Offset) -> str:
        """Start, sign and rest, end."""
        sign = "+" if problem.days > 0 else "-"
        return f"{weekday(problem.start)} {sign} {problem.rest} -> {self.solve(problem)}"

    def verify(self, problem: Offset) -> Draft:
        """Go the other way round the week; check by going back to the start."""
        other = 7 - abs(problem.days) % 7
        sign = -1 if problem.days > 0 else 1
        days = [weekday(problem.start, sign * k) for k in range(1, other + 1)]
        back = [
            weekday(problem.start, -sign * (problem.rest - k)) for k in range(1, problem.rest + 1)
        ]
        around = _way(-other if problem.days > 0 else other)
        whole = abs(problem.days) + other
        lines = [
            f"Put another way: {_way(problem.days)} is {around}, "
            f"as {abs(problem.days)} + {other} = {whole} days are whole weeks.",
            f"That passes {', '.join(days)}.",
            f"Check: from {days[-1]} the {problem.rest} days return to the start: "
            f"{', '.join([days[-1], *back])}.",
        ]
        return draft(lines, days[-1], "calculation", "reframing", "self-verification")

    def candidates(self, problem: Offset, rng: Random) -> Iterable[str]:
        """One or two days too far or too short, then the right day."""
        right = WEEKDAYS.index(self.solve(problem))
        miss = rng.choice([-2, -1, 1, 2])
        step = 1 if miss < 0 else -1
        for distance in range(miss, step, step):
            yield WEEKDAYS[(right + distance) % 7]

    def test(self, problem: Offset, candidate: str) -> Finding:
        """Count the rest back from the candidate: the start must come out."""
        sign = 1 if problem.days > 0 else -1
        end = WEEKDAYS[(WEEKDAYS.index(candidate) - sign * problem.rest) % 7]
        start = weekday(problem.start)
        text = f"{_way(-sign * problem.rest)} from it is {end}"
        if end == start:
            return Finding(f"{text}, the start", True)
        return Finding(f"{text}, but the start is {start}", False)

    def slip(self, problem: Offset, rng: Random) -> str:
        """Counts the start as the first day, one day too many, or in the wrong direction."""
        sign = 1 if problem.days > 0 else -1
        return weekday(
            problem.start, rng.choice([problem.days - sign, problem.days + sign, -problem.days])
        )


def weekday(day: date, offset: int = 0) -> str:
    """The weekday's name, so many days after ``day``."""
    return WEEKDAYS[(day + timedelta(days=offset)).weekday()]


def _way(days: int) -> str:
    plural = "day" if abs(days) == 1 else "days"
    return f"{abs(days)} {plural} {'forward' if days > 0 else 'back'}"
