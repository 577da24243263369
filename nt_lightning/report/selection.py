"""The audit of a selection as tables, and what a run's folder gets of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nt_lightning.files import replacing_file
from nt_lightning.report.audit_rows import (
    SHOWN,
    TITLES,
    Audit,
    Row,
    distributions_of,
    ranges_of,
    reasons_of,
    shortened,
    steps_of,
    token_budget_of,
)
from nt_lightning.report.naturalness_tables import naturalness_tables
from nt_lightning.report.selection_picture import plot_selection


def selection_tables(audit: Audit) -> Iterator[Table]:
    """What was taken and why, before → after, and the overlap with other selections.

    Args:
        audit: What stands in ``selection.json``.
    """
    yield _steps(audit)
    title = f"{audit['selection']}: candidates and selected traces"
    yield _taken(title, "reason", reasons_of(audit).rows)
    for ranges in ranges_of(audit):
        yield _taken(ranges.title.capitalize(), "", ranges.rows)
    table = _table("Distributions", "", "value", "before", "after", "selected")
    for name, rows, before, after in distributions_of(audit):
        for label, row in zip([name, *[""] * SHOWN], shortened(rows), strict=False):
            shares = _share(row.before, before), _share(row.after, after)
            table.add_row(label, row.name, *shares, f"{row.after:,}")
        table.add_section()
    if table.row_count:
        yield table
    yield from _cluster_tables(audit["details"])
    yield from naturalness_tables(audit["details"])
    if "overlap" in audit:
        yield _overlap(audit["overlap"])


def write_report(audit: Audit, folder: Path) -> None:
    """Write the tables as ``selection.txt`` and the picture as ``selection.png``.

    Args:
        audit: What stands in ``selection.json``.
        folder: A run's folder, or that of an audit.
    """
    text = folder / "selection.txt"
    with replacing_file(text) as partial, partial.open("w", encoding="utf-8") as handle:
        console = Console(file=handle, width=100, highlight=False, markup=False)
        for table in selection_tables(audit):
            console.print(table, "")
    plot_selection(audit, folder / "selection.png")


def _steps(audit: Audit) -> Table:
    table = Table(title="From the pool to the selection", box=box.HORIZONTALS, pad_edge=False)
    table.add_column("", overflow="fold")
    table.add_column("traces", justify="right", no_wrap=True)
    for name, traces, is_left in steps_of(audit):
        shown = name if is_left else f"  {name}"
        style = "bold" if name == "selected" else "" if is_left else "dim"
        table.add_row(shown, f"{traces:,}", style=style)
    if found := token_budget_of(audit):
        table.add_row(f"tokens of their responses, at most {found.budget:,}", f"{found.spent:,}")
    for name, histogram in audit["lengths"].items():
        table.add_row(f"mean {TITLES[name]}", _means(*histogram["mean"]))
    return table


def _means(before: float, after: float) -> str:
    """Two means in the same digits: one after the point where one of them is below 100."""
    digits = 1 if min(abs(before), abs(after)) < 100 else 0
    return f"{before:,.{digits}f} → {after:,.{digits}f}"


def _taken(title: str, kind: str, rows: Sequence[Row]) -> Table:
    """Which share of the candidates of each kind was taken."""
    table = _table(title, kind, "candidates", "selected", "taken")
    for row in shortened(rows):
        table.add_row(row.name, f"{row.before:,}", f"{row.after:,}", _share(row.after, row.before))
    return table


def _cluster_tables(details: Any) -> Iterator[Table]:
    """The largest clusters with a question from their centre, and how far to trust them."""
    if not isinstance(details, dict):
        return
    if "clusters" not in details:
        for value in details.values():
            yield from _cluster_tables(value)
        return
    about = (
        f"{details['num_clusters']} clusters, {100 * details['noise_share']:.1f} % noise; "
        f"{details['fitted']:,} questions fitted; agreement with an exact fit of "
        f"{details['agreement_points']:,}: {details['agreement']:.3f} (adjusted Rand index)"
    )
    table = Table(title="Clusters", caption=about, box=box.HORIZONTALS, pad_edge=False)
    table.add_column("cluster", no_wrap=True)
    table.add_column("questions", justify="right", no_wrap=True)
    table.add_column("nearest to its centre")  # may wrap: so it alone gives way; its cells do not
    for one in sorted(details["clusters"], key=lambda one: -one["size"])[:SHOWN]:
        nearest = one.get("nearest_questions") or [""]
        question = Text(" ".join(nearest[0].split()), no_wrap=True, overflow="ellipsis")
        table.add_row(one["name"], f"{one['size']:,}", question)
    yield table


def _table(title: str, *names: str) -> Table:
    """A table whose last three columns are numbers."""
    table = Table(title=title, box=box.HORIZONTALS, pad_edge=False)
    for name in names[:-3]:
        table.add_column(name, overflow="fold")
    for name in names[-3:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _overlap(overlap: Mapping[str, Any]) -> Table:
    """What each two selections share; Jaccard: of the traces in either."""
    table = _table("Overlap", "selection", "and", "shared", "of the smaller", "Jaccard")
    sizes = overlap["sizes"]
    names = [f"{name} ({size:,})" for name, size in zip(overlap["names"], sizes, strict=True)]
    for a, b in combinations(range(len(names)), 2):
        shared = overlap["shared"][a][b]
        share = _share(shared, min(sizes[a], sizes[b]))
        table.add_row(names[a], names[b], f"{shared:,}", share, f"{overlap['jaccard'][a][b]:.3f}")
    return table


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
