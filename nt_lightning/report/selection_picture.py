"""The audit of a selection as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from nt_lightning.files import replacing_file
from nt_lightning.report.audit_rows import (
    NOISE,
    TITLES,
    Audit,
    Distribution,
    Row,
    clusters_of,
    distributions_of,
    ranges_of,
    reasons_of,
    shortened,
)
from nt_lightning.report.naturalness_picture import naturalness_panels

BEFORE, AFTER = "#999999", "#0072B2"  # Okabe and Ito
NAME_CHARS, FOLDER_CHARS = 34, 20  # that a panel has room for
EVEN = [1, 2, 5, 10]  # steps between ticks: 2.5 would be rounded
Panel = Callable[[Axes], None]


def plot_selection(audit: Audit, path: Path) -> None:
    """Draw the distributions before and after the selection, and the overlap with others.

    Args:
        audit: What stands in ``selection.json``.
        path: The PNG to write, whole or not at all.
    """
    figure = draw_selection(audit)
    with replacing_file(path) as unfinished, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(unfinished, format="png")


def draw_selection(audit: Audit) -> Figure:
    """The picture of ``plot_selection`` as a figure, a panel for each part of the audit.

    Args:
        audit: What stands in ``selection.json``.
    """
    panels = list(_panels(audit))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.4 * lines + 0.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{audit['selection']}: {audit['selected']:,} of {audit['candidates']:,} candidates"
    )
    grid = figure.subplots(lines, columns, squeeze=False).flat
    for axes, draw in zip(grid, panels, strict=False):
        draw(axes)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.legend(
        handles=[
            Line2D([], [], color=colour, linewidth=6, label=label)
            for colour, label in ((BEFORE, "candidates"), (AFTER, "selected"))
        ],
        loc="outside lower center", ncols=2, frameon=False,
    )  # fmt: skip
    return figure


def _panels(audit: Audit) -> Iterator[Panel]:
    """What draws each panel, in their order."""
    reasons = reasons_of(audit)
    ranges = list(ranges_of(audit))
    for found in (*(ranges or [reasons]), *distributions_of(audit)):
        yield partial(_draw_bars, found=found)
    taken = {row.name.rpartition(": ")[2]: row.after for row in reasons.rows}
    for title, rows in clusters_of(audit["details"], taken):
        yield partial(_draw_clusters, title=title, rows=rows)
    yield from naturalness_panels(audit["details"])
    for name, histogram in audit["lengths"].items():
        yield partial(_draw_histogram, title=TITLES[name], histogram=histogram)
    if "overlap" in audit:
        yield partial(_draw_overlap, overlap=audit["overlap"])


def _draw_bars(axes: Axes, found: Distribution) -> None:
    """Shares of the candidates and of the selected traces, a pair of bars for each value."""
    shown = shortened(found.rows, 10)[::-1]
    places = range(len(shown))
    for shift, colour, shares in (
        (0.2, BEFORE, [row.before / max(found.before, 1) for row in shown]),
        (-0.2, AFTER, [row.after / max(found.after, 1) for row in shown]),
    ):
        axes.barh([place + shift for place in places], shares, 0.4, color=colour)
    axes.set_yticks(list(places), [_plain(_cut(row.name)) for row in shown], fontsize=8)
    axes.set_ylim(min(-0.6, len(shown) / 2 - 3), max(len(shown) - 0.4, len(shown) / 2 + 2))
    _in_percent(axes.xaxis)
    _finish(axes, found.title)


def _draw_clusters(axes: Axes, title: str, rows: Sequence[Row]) -> None:
    """Sizes of the clusters, the largest first, and beyond them as dots that of the noise."""
    clusters = sorted((row for row in rows if row.name != NOISE), key=lambda row: -row.before)
    noise = [row for row in rows if row.name == NOISE]
    places = range(1, len(clusters) + 1)
    for colour, sizes, outside in (
        (BEFORE, [row.before for row in clusters], [row.before for row in noise]),
        (AFTER, [row.after for row in clusters], [row.after for row in noise]),
    ):
        if any([*sizes, *outside]):  # none: a later part gave the reasons, nobody counted these
            axes.step(places, np.maximum(sizes, 0.5), where="mid", color=colour)
            axes.plot([len(clusters) + 1] * len(noise), outside, "o", color=colour)
    drawn = [max(number, 1) for row in rows for number in (row.before, row.after)]
    if max(drawn) > 10 * min(drawn):
        _in_logarithms(axes, "y")
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=EVEN, integer=True))
    ticks = MaxNLocator(8, steps=EVEN, integer=True).tick_values(1, len(clusters))
    axes.set_xticks([tick for tick in ticks if 1 <= tick <= len(clusters)])
    axes.set_xlabel("cluster, by size" + ("; dots: noise" if noise else ""))
    axes.set_ylabel("traces")
    share = sum(row.before for row in noise) / max(sum(row.before for row in rows), 1)
    _finish(axes, f"{title}: {len(clusters):,}; noise: {100 * share:.1f} % of the traces")


def _draw_histogram(axes: Axes, title: str, histogram: Mapping[str, Any]) -> None:
    for colour, counts in ((BEFORE, histogram["before"]), (AFTER, histogram["after"])):
        shares = [count / max(sum(counts), 1) for count in counts]
        axes.stairs(shares, histogram["edges"], fill=True, alpha=0.45, color=colour)
    if histogram["edges"][-1] > 10 * histogram["edges"][0] > 0:
        _in_logarithms(axes, "x")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=EVEN, integer=True))
    _in_percent(axes.yaxis)
    _finish(axes, title)


def _draw_overlap(axes: Axes, overlap: Mapping[str, Any]) -> None:
    axes.imshow(overlap["jaccard"], vmin=0, vmax=1, cmap="Blues")
    names = [_plain(_cut_front(name)) for name in overlap["names"]]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for line, shares in enumerate(overlap["jaccard"]):
        for column, share in enumerate(shares):
            text = f"{share:.2f}\n{overlap['shared'][line][column]:,}"
            colour = "white" if share > 0.6 else "black"
            axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_title("overlap: Jaccard and shared traces", fontsize=10)


def _in_percent(axis: Axis) -> None:
    """Even ticks in percent, with digits after the point where one of them is no whole number."""
    axis.set_major_locator(MaxNLocator(6, steps=EVEN))
    ticks = 100 * np.asarray(axis.get_majorticklocs())
    digits = next((d for d in (0, 1) if np.allclose(ticks, ticks.round(d))), 2)
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=digits))


def _in_logarithms(axes: Axes, name: str) -> None:
    """A logarithmic axis of counts; a half stands for none.

    Ticks are at 1, 2, 5, 10, ... and over more than two decades, for want of room, at 1, 10, ...
    """
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high <= 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.0f}" if tick >= 1 else "0"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(labelsize=8)


def _cut(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"


def _cut_front(name: str) -> str:
    """The end of a folder's name: paths differ there."""
    return name if len(name) <= FOLDER_CHARS else f"…{name[1 - FOLDER_CHARS :]}"


def _plain(name: str) -> str:
    """A name for matplotlib, which takes what stands between two dollars as a formula."""
    return name.replace("$", r"\$")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
