"""The audit of a selection as tables, and what a run's folder gets of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from nt_lightning.files import replacing_file
from nt_lightning.report.audit_rows import (
    SHOWN,
    TITLES,
    Audit,
    distributions_of,
    reasons_of,
    shortened,
)
from nt_lightning.report.selection_picture import plot_selection


def selection_tables(audit: Audit) -> Iterator[Table]:
    """What was taken and why, before → after, and the overlap with other selections.

    Args:
        audit: What stands in ``selection.json``.
    """
    yield _counts(audit)
    table = _table(
        f"{audit['selection']}: candidates and selected traces",
        "reason",
        "candidates",
        "selected",
        "taken",
    )
    for row in shortened(reasons_of(audit)):
        table.add_row(row.name, f"{row.before:,}", f"{row.after:,}", _share(row.after, row.before))
    yield table
    table = _table("Distributions", "", "value", "before", "after", "selected")
    for name, rows in distributions_of(audit):
        sums = sum(row.before for row in rows), sum(row.after for row in rows)
        if name == "reasoning_strategies":
            sums = audit["candidates"], audit["selected"]
        for label, row in zip([TITLES[name], *[""] * SHOWN], shortened(rows), strict=False):
            shares = _share(row.before, sums[0]), _share(row.after, sums[1])
            table.add_row(label, row.name, *shares, f"{row.after:,}")
        table.add_section()
    if table.row_count:
        yield table
    yield from _cluster_tables(audit["details"])
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


def _counts(audit: Audit) -> Table:
    table = Table(title="From the pool to the selection", box=box.HORIZONTALS, pad_edge=False)
    table.add_column("")
    table.add_column("traces", justify="right")
    table.add_row("in the pool", f"{audit['pool']['traces']:,}")
    for reason, count in audit["dropped"].items():
        table.add_row(f"dropped: {reason}", f"-{count:,}", style="dim")
    table.add_row("candidates, one for each question", f"{audit['candidates']:,}")
    table.add_row("kept for validation", f"{audit['validation']:,}")
    table.add_row("selected", f"{audit['selected']:,}", style="bold")
    for name, histogram in audit["lengths"].items():
        before, after = histogram["mean"]
        table.add_row(f"mean {TITLES[name]}", f"{before:,.0f} → {after:,.0f}")
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
    table.add_column("nearest to its centre", no_wrap=True, overflow="ellipsis")
    for one in sorted(details["clusters"], key=lambda one: -one["size"])[:SHOWN]:
        nearest = one.get("nearest_questions") or [""]
        table.add_row(one["name"], f"{one['size']:,}", " ".join(nearest[0].split()))
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
    table = Table(title="Overlap (Jaccard)", box=box.HORIZONTALS, pad_edge=False)
    table.add_column("", overflow="fold")
    for name, size in zip(overlap["names"], overlap["sizes"], strict=True):
        table.add_column(f"{name}\n{size:,}", justify="right", overflow="fold")
    for name, shares in zip(overlap["names"], overlap["jaccard"], strict=True):
        table.add_row(name, *(f"{share:.3f}" for share in shares))
    return table


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
