"""Pictures of a scored pool for a page: inline SVG that takes the page's own ink and fonts."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

Report = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

INK = "#010203"  # what becomes the page's ink
# Okabe and Ito's without black and yellow, which a light or a dark page would swallow
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX<>ph"  # eleven and six: 66 teachers that are not alike
NAME_CHARS = 28
VECTORS = 600  # points up to which each is drawn by itself; more are an image
WIDTH = 9.6  # inches; the page's 920 pixels
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "grid.color"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "axes.grid": True,
    "grid.alpha": 0.15,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "font.size": 9,
    "font.family": ["DejaVu Sans"],  # room is measured with it; the page has narrower ones
    "svg.fonttype": "none",
    "svg.hashsalt": "nt_lightning",  # the same report, the same bytes
}


class Teacher(NamedTuple):
    """A teacher as all pictures show it: its number and short name, a colour and a marker."""

    name: str
    label: str
    colour: str
    marker: str


def teachers_of(report: Report) -> list[Teacher]:
    """All teachers, by their rank under the report's score; alphabetical if not compared."""
    names = report["points"]["teachers"]
    if report["teachers"] is not None:
        names = [one["teacher"] for one in report["teachers"]["rankings"][0]["teachers"]]
    return [
        Teacher(name, f"{number + 1}  {_short(name)}", COLOURS[number % 6], MARKERS[number % 11])
        for number, name in enumerate(names)
    ]


def score_figures(report: Report) -> dict[str, Markup]:
    """The pictures of a report; those for which it has no numbers are not there.

    Args:
        report: What ``score_report`` returns.

    Returns:
        Some of ``ranking``, ``distributions``, ``windows`` and ``lengths``.
    """
    teachers = teachers_of(report)
    drawn = {}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if report["teachers"] is not None:
            drawn["ranking"] = _ranking(report, teachers)
        if any(one["quantiles"] for one in report["distributions"][report["score"]].values()):
            drawn["distributions"] = _distributions(report, teachers)
        if len(report["windows"]) > 1 and report["windows"][0]["responses"]:
            drawn["windows"] = _windows(report, teachers)
        if report["points"]["score"]:
            drawn["lengths"] = _lengths(report, teachers)
    return drawn


def window_label(name: str) -> str:
    """A window as a reader calls it: ``4`` or ``25 %``."""
    return f"{name.removesuffix('pct')} %" if name.endswith("pct") else name


def _ranking(report: Report, teachers: Sequence[Teacher]) -> Markup:
    """Means of the teachers with their intervals, and the probability of being the best."""
    score, ranked = report["score"], report["teachers"]["rankings"][0]["teachers"]
    figure = _figure(0.3 * len(teachers) + 0.9)
    means, best = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    for place, (teacher, one) in enumerate(zip(teachers, ranked, strict=True)):
        means.plot([one["low"], one["high"]], [place, place], color=teacher.colour, linewidth=2)
        means.plot(one["mean"], place, teacher.marker, color=teacher.colour, markersize=7)
        best.barh(place, one["best"], 0.6, color=teacher.colour)
        best.text(one["best"] + 0.03, place, f"{100 * one['best']:.1f} %", va="center", fontsize=8)
    _name_places(means, teachers)
    means.set_title(f"mean {score}, 95 % intervals")
    best.set_title("probability of being best")
    best.set_xlim(0, 1.35)
    best.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    said = (
        f"{one['teacher']} {one['mean']:.4g} ({one['low']:.4g} to {one['high']:.4g})"
        for one in ranked
    )
    return _svg(figure, f"Teachers by mean {score}, best first: {'; '.join(said)}.")


def _distributions(report: Report, teachers: Sequence[Teacher]) -> Markup:
    """A box of each teacher: quartiles, whiskers from 5 to 95 %, a marker at the mean."""
    score = report["score"]
    found = report["distributions"][score]
    figure = _figure(0.3 * len(teachers) + 0.9)
    axes = figure.subplots()
    axes.use_sticky_edges = False
    said = []
    for place, teacher in enumerate(teachers):
        own, colour = found[teacher.name], teacher.colour
        if not own["quantiles"]:
            continue
        low, first, middle, third, high = own["quantiles"]
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
        axes.barh(place, third - first, 0.6, left=first, color="none", edgecolor=colour)
        axes.barh(place, third - first, 0.6, left=first, color=colour, alpha=0.35)
        axes.plot([middle, middle], [place - 0.3, place + 0.3], color=colour, linewidth=3)
        axes.plot(own["mean"], place, teacher.marker, color=INK, markersize=4.5)
        said.append(f"{teacher.name} {middle:.4g}")
    _name_places(axes, teachers)
    axes.set_title(f"{score} of responses: quartiles, 5 to 95 %, marker at the mean")
    return _svg(figure, f"Boxes of {score} per teacher; medians: {'; '.join(said)}.")


def _windows(report: Report, teachers: Sequence[Teacher]) -> Markup:
    """Mean by teacher, and rank correlation with the last, over the windows."""
    windows = report["windows"]
    labels = [window_label(one["window"]) for one in windows]
    figure = _figure(max(3.4, 0.2 * len(teachers) + 0.7))
    means, correlation = figure.subplots(1, 2, width_ratios=[3, 2])
    places = range(len(windows))
    for one in teachers:
        values = _numbers([window["teachers"][one.name] for window in windows])
        means.plot(places, values, f"{one.marker}-", color=one.colour, markersize=5)
    like = _numbers([window["rank_correlation"] for window in windows])
    correlation.plot(places, like, "o-", color=INK, markersize=5)
    for place, value in zip(places, like, strict=True):
        rises = place + 1 < len(like) and like[place + 1] > value
        at = {"xytext": (14, -12) if rises else (0, 6), "textcoords": "offset points"}
        if np.isfinite(value):
            correlation.annotate(f"{value:.2f}", (place, value), ha="center", **at)
    means.set_title("mean local naturalness")
    correlation.set_title(f"rank correlation with {labels[-1]}")
    correlation.margins(x=0.12, y=0.2)
    correlation.yaxis.set_major_formatter(lambda tick, _: f"{tick:.3g}" if tick < 1.001 else "")
    for axes in (means, correlation):
        axes.set_xticks(list(places), labels)
        axes.set_xlabel("window")
    _legend(figure, teachers)
    said = (f"{label}: {value:.2f}" for label, value in zip(labels, like, strict=True))
    alt = "Mean local naturalness per window; rank correlation with the last: "
    return _svg(figure, alt + ", ".join(said).replace("nan", "–"))


def _lengths(report: Report, teachers: Sequence[Teacher]) -> Markup:
    """The score against the tokens of a response, and against its mean tokens per step."""
    points, score = report["points"], report["score"]
    found = next(one for one in report["lengths"] if one["score"] == score)
    figure = _figure(max(3.8, 0.2 * len(teachers) + 0.7))
    panels = figure.subplots(1, 2, sharey=True)
    numbers = {teacher.name: number for number, teacher in enumerate(teachers)}
    owners = np.array([numbers[name] for name in points["teachers"]])[points["teacher"]]
    values, said = np.array(points["score"]), []
    for axes, key in zip(panels, ("tokens", "tokens_per_step"), strict=True):
        across, name = np.array(points[key], dtype=float), key.replace("_", " ")
        for number, one in enumerate(teachers):
            own = owners == number
            axes.plot(
                across[own], values[own], one.marker, color=one.colour, markersize=4.5, alpha=0.6,
                markeredgewidth=0, rasterized=len(values) > VECTORS,
            )  # fmt: skip
        _in_logarithms(axes, across)
        rho = "–" if found[key] is None else f"{found[key]:+.2f}"
        axes.set_title(f"{score} and {name}: Spearman {rho}")
        axes.set_xlabel(name)
        said.append(f"with {name} {rho}")
    panels[0].set_ylabel(score)
    _legend(figure, teachers)
    return _svg(figure, f"{score} of responses; rank correlation {', '.join(said)}.")


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, max(height, 1.4)), dpi=150, layout="constrained")


def _name_places(axes: Axes, teachers: Sequence[Teacher]) -> None:
    """Teachers' names from top to bottom."""
    axes.set_yticks(range(len(teachers)), [one.label for one in teachers])
    axes.set_ylim(len(teachers) - 0.4, -0.6)


def _legend(figure: Figure, teachers: Sequence[Teacher]) -> None:
    handles = [
        Line2D([], [], linestyle="", marker=one.marker, color=one.colour, label=one.label)
        for one in teachers
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)


def _in_logarithms(axes: Axes, values: Floats) -> None:
    """A logarithmic axis with some ticks, however little or much the values differ."""
    axes.set_xscale("log")
    ratio = values.max() / values.min()
    subs = (1, 2, 5) if ratio < 100 else (1,)
    axes.xaxis.set_major_locator(MaxNLocator(5) if ratio < 8 else LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:{',.0f' if tick >= 100 else 'g'}}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values])


def _short(name: str) -> str:
    """A name that fits, cut in its middle, for matplotlib: dollars would make a formula of it."""
    name = " ".join(name.split())
    if len(name) > NAME_CHARS:
        name = name.rstrip("/").rpartition("/")[2]
    if len(name) > NAME_CHARS:
        name = f"{name[: NAME_CHARS - 13]}…{name[-12:]}"
    return name.replace("$", r"\$")


def _svg(figure: Figure, alt: str) -> Markup:
    """The figure as an element of a page: no size of its own, no names that meet others'."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)
    text = re.sub('<g id="[^"]*"', "<g", text).replace(f": {INK}", ": currentColor")
    opening, _, rest = text[text.index("<svg") :].partition(">")
    opening = re.sub(r' (width|height)="[^"]*"', "", opening).removeprefix("<svg")
    return Markup('<svg role="img" aria-label="{}"{}>{}').format(alt, Markup(opening), Markup(rest))
