"""The audit of a selection as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from nt_lightning.files import replacing_file
from nt_lightning.report.audit_rows import (
    TITLES,
    Audit,
    Row,
    clusters_of,
    distributions_of,
    reasons_of,
    shortened,
)

BEFORE, AFTER = "#999999", "#0072B2"  # Okabe and Ito


def plot_selection(audit: Audit, path: Path) -> None:
    """Draw the distributions before and after the selection, and the overlap with others.

    Args:
        audit: What stands in ``selection.json``.
        path: The PNG to write, whole or not at all.
    """
    bars = [("reasons", reasons_of(audit)), *distributions_of(audit)]
    taken = {row.name.rpartition(": ")[2]: row.after for row in reasons_of(audit)}
    clusters = list(clusters_of(audit["details"], taken))
    lengths = audit["lengths"]
    count = len(bars) + len(clusters) + len(lengths) + ("overlap" in audit)
    columns = min(3, count)
    figure = Figure(
        figsize=(5.2 * columns, 3.4 * -(-count // columns) + 0.8), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{audit['selection']}: {audit['selected']:,} of {audit['candidates']:,} candidates"
    )
    grid = figure.subplots(-(-count // columns), columns, squeeze=False)
    panels = iter(grid.flat)
    for name, rows in bars:
        whole = audit["candidates"] if name == "reasoning_strategies" else 0
        _draw_bars(next(panels), TITLES.get(name, name), rows, whole, audit["selected"])
    for name, rows in clusters:
        _draw_clusters(next(panels), name, rows)
    for name, histogram in lengths.items():
        _draw_histogram(next(panels), TITLES[name], histogram)
    if "overlap" in audit:
        _draw_overlap(next(panels), audit["overlap"])
    for axes in panels:
        axes.set_visible(False)
    figure.legend(
        handles=[
            Line2D([], [], color=colour, linewidth=6, label=label)
            for colour, label in ((BEFORE, "candidates"), (AFTER, "selected"))
        ],
        loc="outside lower center", ncols=2, frameon=False,
    )  # fmt: skip
    with replacing_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(partial, format="png")


def _drawn(name: str) -> str:
    """A name for matplotlib, which takes what stands between two dollars as a formula."""
    return name.replace("$", r"\$")


def _draw_bars(axes: Axes, title: str, rows: Sequence[Row], before: int, after: int) -> None:
    """Shares of the candidates and of the selected traces, a pair of bars for each value."""
    shown = shortened(rows, 10)[::-1]
    before = before or sum(row.before for row in rows)
    after = after if title == TITLES["reasoning_strategies"] else sum(row.after for row in rows)
    places = range(len(shown))
    for shift, colour, shares in (
        (0.2, BEFORE, [row.before / max(before, 1) for row in shown]),
        (-0.2, AFTER, [row.after / max(after, 1) for row in shown]),
    ):
        axes.barh([place + shift for place in places], shares, 0.4, color=colour)
    axes.set_yticks(list(places), [_drawn(row.name[:34]) for row in shown], fontsize=8)
    axes.set_ylim(min(-0.6, len(shown) / 2 - 3), max(len(shown) - 0.4, len(shown) / 2 + 2))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _finish(axes, title)


def _draw_clusters(axes: Axes, title: str, rows: Sequence[Row]) -> None:
    ordered = sorted(rows, key=lambda row: -row.before)
    places = range(1, len(ordered) + 1)
    for colour, sizes in (
        (BEFORE, [row.before for row in ordered]),
        (AFTER, [row.after for row in ordered]),
    ):
        if not any(sizes):  # where a later part gave the reasons, nobody counted the clusters
            continue
        axes.step(places, [max(size, 0.5) for size in sizes], where="mid", color=colour)
    axes.set_yscale("log")
    axes.set_xlabel("cluster, by size")
    axes.set_ylabel("traces")
    _finish(axes, f"{title} ({len(ordered)})")


def _draw_histogram(axes: Axes, title: str, histogram: Mapping[str, Any]) -> None:
    for colour, counts in ((BEFORE, histogram["before"]), (AFTER, histogram["after"])):
        shares = [count / max(sum(counts), 1) for count in counts]
        axes.stairs(shares, histogram["edges"], fill=True, alpha=0.45, color=colour)
    if histogram["edges"][-1] > 10 * histogram["edges"][0] > 0:
        axes.set_xscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _finish(axes, title)


def _draw_overlap(axes: Axes, overlap: Mapping[str, Any]) -> None:
    axes.imshow(overlap["jaccard"], vmin=0, vmax=1, cmap="Blues")
    names = [_drawn(name[:20]) for name in overlap["names"]]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for line, shares in enumerate(overlap["jaccard"]):
        for column, share in enumerate(shares):
            colour = "white" if share > 0.6 else "black"
            axes.text(column, line, f"{share:.2f}", ha="center", va="center", color=colour)
    axes.set_title("overlap (Jaccard)", fontsize=10)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
