"""The audit of a selection as rows, for its tables and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Audit = Mapping[str, Any]
SHOWN = 12
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


def reasons_of(audit: Audit) -> list[Row]:
    """Candidates and taken ones by reason."""
    return [Row(one["reason"], one["candidates"], one["selected"]) for one in audit["reasons"]]


def distributions_of(audit: Audit) -> Iterator[tuple[str, list[Row]]]:
    """Each counted column and its values, most common first, verbosity in order."""
    for name, counted in audit["distributions"].items():
        rows = [Row(_shown(one["value"]), one["before"], one["after"]) for one in counted]
        if name == "verbosity":
            rows.sort(key=lambda row: (not row.name.isdigit(), row.name.zfill(9)))
        yield name, rows


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


def _shown(value: Any) -> str:
    if value is None:
        return "(null)"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
