"""The matrix of modes: what training did to accuracy, length and obedience in each think mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from rich import box
from rich.table import Table

from nt_lightning.evaluation.outcomes import OUTCOMES
from nt_lightning.evaluation.results import Result
from nt_lightning.files import replacing_file

Baselines = Mapping[str, Mapping[str, float]]

LABELS = {"no_think": "No-Think", "adaptive": "Adaptive", "think": "Think"}
COLOURS = {"no_think": "#0072B2", "adaptive": "#009E73", "think": "#D55E00"}  # Okabe and Ito
_BASELINE_COLOUR = "#555555"
_DASHES = ((0, (6, 3)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))


class Change(NamedTuple):
    """A benchmark in a mode, at its first and at its last stage; ``before`` may be missing."""

    benchmark: str
    mode: str
    before: Result | None
    after: Result | None


def mode_matrix(results: Sequence[Result], baselines: Baselines | None = None) -> Table:
    """A table with a row for each benchmark and mode, before training -> after it where it was.

    Args:
        results: Results of a run; ``after`` stands for the newest other stage where it is missing.
        baselines: Accuracies without a model, by benchmark and name; they become rows.
    """
    table = Table(
        title=f"Think modes{', before → after training' if _is_trained(results) else ''}",
        caption="Shares in %; ± one standard error, clustered by problem.\n"
        f"outcomes: {' / '.join(OUTCOMES)}",
        box=box.HORIZONTALS,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("benchmark", overflow="fold")
    table.add_column("mode", no_wrap=True)
    for name in ("accuracy", "obeys", "thinks", "tokens", "outcomes"):
        table.add_column(name, justify="right", no_wrap=True)
    by_benchmark: dict[str, list[Change]] = {}
    for change in changes_of(results):
        by_benchmark.setdefault(change.benchmark, []).append(change)
    for benchmark, changes in by_benchmark.items():
        for change in changes:
            table.add_row(*_cells(change))
        for name, accuracy in (baselines or {}).get(benchmark, {}).items():
            table.add_row(benchmark, f"({name})", f"{100 * accuracy:.1f}", style="dim")
        table.add_section()
    return table


def plot_mode_matrix(
    results: Sequence[Result], path: Path, baselines: Baselines | None = None
) -> None:
    """Draw accuracy against response length, a panel for each benchmark, a colour for each mode.

    Hollow is before training, filled after it, with an arrow between; bars are one standard error;
    baselines are dashed lines.

    Args:
        results: Results of a run, at least one.
        path: The PNG to write, whole or not at all.
        baselines: Accuracies without a model, by benchmark and name.
    """
    changes = list(changes_of(results))
    names = list(dict.fromkeys(change.benchmark for change in changes))
    figure = Figure(figsize=(1.2 + 5.0 * len(names), 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    is_trained = _is_trained(results)
    figure.suptitle(f"Think modes{' before and after training' if is_trained else ''}", fontsize=14)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _panel(axes, name, [c for c in changes if c.benchmark == name], (baselines or {}).get(name))
    panels[0].set_ylabel("accuracy (± standard error)")
    modes = dict.fromkeys(change.mode for change in changes)
    figure.legend(
        handles=list(_legend(modes, is_trained)),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    with replacing_file(path) as partial:
        figure.savefig(partial, format="png")


def changes_of(results: Sequence[Result]) -> Iterator[Change]:
    """The first and the last stage of each benchmark and mode, in the order of the modes."""
    for benchmark in dict.fromkeys(result.benchmark for result in results):
        for mode in LABELS:
            own = [r for r in results if (r.benchmark, r.mode) == (benchmark, mode)]
            if own:
                before = [r for r in own if r.stage == "before"]
                others = [r for r in own if r.stage != "before"]
                after = [r for r in others if r.stage == "after"] or others
                yield Change(
                    benchmark, mode, *(part[-1] if part else None for part in (before, after))
                )


def _cells(change: Change) -> tuple[str, ...]:
    both = [result for result in (change.before, change.after) if result is not None]

    def cell(text: Callable[[Result], str]) -> str:
        return "\n→ ".join(map(text, both))

    return (
        f"{change.benchmark}\n{both[-1].num_problems} problems",
        LABELS[change.mode],
        cell(_accuracy),
        cell(lambda r: _percent(r.obedience)) if change.mode != "adaptive" else "",
        cell(lambda r: _percent(r.think_share)),
        cell(lambda r: _count(r.mean_response_tokens)),
        cell(lambda r: "/".join(_percent(r.outcomes.get(o)) for o in OUTCOMES)),
    )


def _accuracy(result: Result) -> str:
    if result.accuracy is None:
        return "–"
    error = "" if result.accuracy_stderr is None else f"±{100 * result.accuracy_stderr:.1f}"
    return f"{100 * result.accuracy:.1f}{error}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _panel(
    axes: Axes, name: str, changes: Sequence[Change], baselines: Mapping[str, float] | None
) -> None:
    for dash, (label, accuracy) in zip(_DASHES, (baselines or {}).items(), strict=False):
        axes.axhline(accuracy, color=_BASELINE_COLOUR, linestyle=dash, linewidth=1, zorder=1)
        axes.annotate(
            label, (1, accuracy), xycoords=("axes fraction", "data"), xytext=(-4, 3),
            textcoords="offset points", ha="right", fontsize=8, color=_BASELINE_COLOUR,
        )  # fmt: skip
    for change in changes:
        _draw_change(axes, change)
    problems = max(r.num_problems for c in changes for r in (c.before, c.after) if r is not None)
    axes.set_title(f"{name} ({problems} problems)")
    axes.set_xlabel("mean response tokens")
    axes.margins(0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_change(axes: Axes, change: Change) -> None:
    colour = COLOURS[change.mode]
    points = [_point(result) for result in (change.before, change.after)]
    if points[0] and points[1]:
        axes.annotate(
            "", xy=points[1], xytext=points[0], zorder=2,
            arrowprops={
                "arrowstyle": "-|>", "color": colour, "alpha": 0.6, "shrinkA": 6, "shrinkB": 6,
            },
        )  # fmt: skip
    for result, point, face in zip(change[2:], points, ("white", colour), strict=True):
        if result is not None and point is not None:
            axes.errorbar(
                *point, yerr=result.accuracy_stderr, fmt="o", color=colour, zorder=3,
                markerfacecolor=face, markeredgecolor=colour, markersize=9, capsize=3,
                clip_on=False,
            )  # fmt: skip


def _point(result: Result | None) -> tuple[float, float] | None:
    if result is None or result.accuracy is None or result.mean_response_tokens is None:
        return None
    return result.mean_response_tokens, result.accuracy


def _is_trained(results: Sequence[Result]) -> bool:
    """Whether they are of a run that trains, and not only of a student that was tested."""
    return any(result.stage != "test" for result in results)


def _legend(modes: Mapping[str, None], is_trained: bool) -> Iterator[Line2D]:
    for mode in modes:
        colour = COLOURS[mode]
        yield Line2D([], [], color=colour, marker="o", linestyle="", label=LABELS[mode])
    stages = (("white", "before training"), ("black", "after training"))
    for face, label in stages if is_trained else ():
        yield Line2D(
            [], [], color="black", marker="o", linestyle="", markerfacecolor=face, label=label
        )
