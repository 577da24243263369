"""The audit of a selection as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from rich import box
from rich.table import Table

from nt_lightning.files import replacing_file

Audit = Mapping[str, Any]
BEFORE, AFTER = "#999999", "#0072B2"  # Okabe and Ito
SHOWN = 12
_TITLES = {
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


def selection_tables(audit: Audit) -> Iterator[Table]:
    """What was taken and why, before → after, and the overlap with other selections.

    Args:
        audit: What stands in ``selection.json``.
    """
    yield _counts(audit)
    table = _table(f"{audit['selection']}: candidates and selected traces", "reason")
    for row in _shortened(_reasons(audit)):
        table.add_row(row.name, f"{row.before:,}", f"{row.after:,}", _share(row.after, row.before))
    yield table
    table = _table("Distributions, before → after", "value", "share")
    for name, rows in _distributions(audit):
        sums = sum(row.before for row in rows), sum(row.after for row in rows)
        if name == "reasoning_strategies":
            sums = audit["candidates"], audit["selected"]
        for label, row in zip([_TITLES[name], *[""] * SHOWN], _shortened(rows), strict=False):
            shares = f"{_share(row.before, sums[0])} → {_share(row.after, sums[1])}"
            table.add_row(label, row.name, f"{row.before:,}", f"{row.after:,}", shares)
        table.add_section()
    if table.row_count:
        yield table
    if "overlap" in audit:
        yield _overlap(audit["overlap"])


def plot_selection(audit: Audit, path: Path) -> None:
    """Draw the distributions before and after the selection, and the overlap with others.

    Args:
        audit: What stands in ``selection.json``.
        path: The PNG to write, whole or not at all.
    """
    bars = [("reasons", _reasons(audit)), *_distributions(audit)]
    clusters = list(_clusters(audit["details"]))
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
        _draw_bars(next(panels), _TITLES.get(name, name), rows, whole, audit["selected"])
    for name, rows in clusters:
        _draw_clusters(next(panels), name, rows)
    for name, histogram in lengths.items():
        _draw_histogram(next(panels), _TITLES[name], histogram)
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
    with replacing_file(path) as partial:
        figure.savefig(partial, format="png")


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
        table.add_row(f"mean {_TITLES[name]}", f"{before:,.0f} → {after:,.0f}")
    return table


def _reasons(audit: Audit) -> list[Row]:
    return [Row(one["reason"], one["candidates"], one["selected"]) for one in audit["reasons"]]


def _distributions(audit: Audit) -> Iterator[tuple[str, list[Row]]]:
    for name, counted in audit["distributions"].items():
        rows = [Row(_shown(one["value"]), one["before"], one["after"]) for one in counted]
        if name == "verbosity":
            rows.sort(key=lambda row: (not row.name.isdigit(), row.name.zfill(9)))
        yield name, rows


def _clusters(details: Any, label: str = "clusters") -> Iterator[tuple[str, list[Row]]]:
    """The clusters of a selection, or of the parts that it is made of."""
    for name, value in details.items() if isinstance(details, dict) else ():
        if name == "clusters":
            yield label, [Row(one["name"], one["size"], one["selected"]) for one in value]
        else:
            yield from _clusters(value, f"clusters of {name}")


def _shortened(rows: Sequence[Row], shown: int = SHOWN) -> list[Row]:
    """The first rows, and the rest as one."""
    if len(rows) <= shown:
        return list(rows)
    rest = rows[shown - 1 :]
    others = Row(
        f"{len(rest)} more", sum(row.before for row in rest), sum(row.after for row in rest)
    )
    return [*rows[: shown - 1], others]


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, box=box.HORIZONTALS, pad_edge=False)
    table.add_column("" if len(names) > 1 else names[0], overflow="fold")
    if len(names) > 1:
        table.add_column(names[0], overflow="fold")
    for name in ("candidates", "selected", *(names[1:] or ("taken",))):
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


def _shown(value: Any) -> str:
    if value is None:
        return "(null)"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _draw_bars(axes: Axes, title: str, rows: Sequence[Row], before: int, after: int) -> None:
    """Shares of the candidates and of the selected traces, a pair of bars for each value."""
    shown = _shortened(rows, 10)[::-1]
    before = before or sum(row.before for row in rows)
    after = after if title == _TITLES["reasoning_strategies"] else sum(row.after for row in rows)
    places = range(len(shown))
    for shift, colour, shares in (
        (0.2, BEFORE, [row.before / max(before, 1) for row in shown]),
        (-0.2, AFTER, [row.after / max(after, 1) for row in shown]),
    ):
        axes.barh([place + shift for place in places], shares, 0.4, color=colour)
    axes.set_yticks(list(places), [row.name[:34] for row in shown], fontsize=8)
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
    names = [name[:20] for name in overlap["names"]]
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
