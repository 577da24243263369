"""The audit of a selection as rows, for its tables and its picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Audit = Mapping[str, Any]
SHOWN = 12
RANGES = 6  # of lengths
NOISE = "noise"  # so the clusters call what is in none
TITLES = {
    "domain": "domains",
    "reasoning_strategies": "reasoning strategies",
    "verbosity": "verbosity",
    "models_agree": "models agree",
    "correct": "correct",
    "teacher": "teachers",
    "response_tokens": "response tokens",
    "num_steps": "reasoning steps",
}


class Row(NamedTuple):
    """A value with the traces that have it, before and after the selection."""

    name: str
    before: int
    after: int


class Distribution(NamedTuple):
    """Values with their traces, and the traces that their shares are of, before and after."""

    title: str
    rows: list[Row]
    before: int
    after: int


class Step(NamedTuple):
    """A step from the pool to the selection: traces that are left, or a change of their number."""

    name: str
    traces: int
    is_left: bool


class TokenBudget(NamedTuple):
    """Tokens of the selected responses, and how many they may be at most."""

    spent: int
    budget: int


def steps_of(audit: Audit) -> Iterator[Step]:
    """Every step from the pool to the selected traces; the changes add up to what is left."""
    left, candidates = audit["left_by_filters"], audit["candidates"]
    yield Step("in the pool", audit["pool"]["traces"], True)
    for reason, count in audit["dropped"].items():
        yield Step(f"dropped: {reason}", -count, False)
    yield Step("left by filters" + ("" if audit["filters"] else " (none given)"), left, True)
    others = "other traces of the same question"
    if audit["teachers"] is not None:
        others = f"by others than {', '.join(audit['teachers'])}, or of the same question"
    if chosen := audit["details"].get("teacher_choice"):
        others = f"by others than {chosen['teacher']}, or of the same question"
    yield Step(others, candidates - left, False)
    yield Step("candidates, one for each question", candidates, True)
    yield Step("kept for validation", -audit["validation"], False)
    rest = candidates - audit["validation"]
    yield Step("not selected", audit["selected"] - rest, False)
    yield Step("selected", audit["selected"], True)


def token_budget_of(audit: Audit) -> TokenBudget | None:
    """The selected tokens beside the budget, where it is one in tokens."""
    budget = audit["budget"]["num_tokens"]
    if budget is None:
        return None
    return TokenBudget(int(audit["lengths"]["response_tokens"]["sum"][1]), budget)


def reasons_of(audit: Audit) -> Distribution:
    """Candidates and taken ones by reason."""
    rows = [Row(one["reason"], one["candidates"], one["selected"]) for one in audit["reasons"]]
    return Distribution("reasons", rows, audit["candidates"], audit["selected"])


def ranges_of(audit: Audit) -> Iterator[Distribution]:
    """What a selection by length took of each range of the candidates' own lengths.

    Its reasons have the paper's 5,000 tokens in view; the candidates may all be below the first.
    """
    histogram = audit["lengths"].get("response_tokens")
    if audit["selection"] == "LongSelection" and histogram:
        rows = list(_ranges(histogram))
        sums = sum(row.before for row in rows), sum(row.after for row in rows)
        yield Distribution("response tokens, in ranges", rows, *sums)


def distributions_of(audit: Audit) -> Iterator[Distribution]:
    """Each counted column and its values, most common first, verbosity in order."""
    for name, counted in audit["distributions"].items():
        rows = [Row(_shown(one["value"]), one["before"], one["after"]) for one in counted]
        sums = sum(row.before for row in rows), sum(row.after for row in rows)
        if name == "reasoning_strategies":  # a trace has several
            sums = audit["candidates"], audit["selected"]
        if name == "verbosity":
            rows.sort(key=lambda row: (not row.name.isdigit(), row.name.zfill(9)))
        title = TITLES[name]
        if name == "teacher" and "response_choice" in audit["details"]:
            title = "teachers of the best responses"  # before, too; the choice's own table has more
        yield Distribution(title, rows, *sums)


def clusters_of(
    details: Any, taken: Mapping[str, int], label: str = "clusters"
) -> Iterator[tuple[str, list[Row]]]:
    """The clusters of a selection, or of the parts that it is made of."""
    for name, value in details.items() if isinstance(details, dict) else ():
        if name == "clusters":
            yield label, [Row(one["name"], one["size"], taken.get(one["name"], 0)) for one in value]
        else:
            yield from clusters_of(value, taken, f"clusters of {name}")


def shortened(rows: Sequence[Row], shown: int = SHOWN) -> list[Row]:
    """The first rows, and the rest as one."""
    if len(rows) <= shown:
        return list(rows)
    rest = rows[shown - 1 :]
    others = Row(
        f"{len(rest)} more", sum(row.before for row in rest), sum(row.after for row in rest)
    )
    return [*rows[: shown - 1], others]


def _ranges(histogram: Mapping[str, Any]) -> Iterator[Row]:
    """Ranges of about as many candidates each, made of the bins of a histogram of integers."""
    before, after, edges = histogram["before"], histogram["after"], histogram["edges"]
    total, start, done = sum(before), 0, 0
    for end in range(1, len(edges)):
        reached = RANGES * sum(before[:end]) // total
        if reached > done:
            first, last = math.ceil(edges[start]), math.ceil(edges[end]) - 1
            name = f"{first:,} tokens" if first == last else f"{first:,} to {last:,} tokens"
            yield Row(name, sum(before[start:end]), sum(after[start:end]))
            start, done = end, reached


def _shown(value: Any) -> str:
    if value is None:
        return "(null)"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
