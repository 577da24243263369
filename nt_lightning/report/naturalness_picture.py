"""Panels of what a selection by naturalness tells of teachers and responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nt_lightning.report.naturalness_tables import choice_of

# Okabe and Ito, without those of the other panels
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442")
OTHERS = "#BBBBBB"
NAME_CHARS = 26


def naturalness_panels(details: Mapping[str, Any]) -> Iterator[Callable[[Axes], None]]:
    """What draws the teachers of each choice, and the teachers' scores with their intervals.

    Args:
        details: Those of an audit; other selections' have no such panels.
    """
    if "response_choice" in details:
        yield partial(_draw_shares, report=details["response_choice"])
    if "teacher_choice" in details:
        yield partial(_draw_ranking, ranking=details["teacher_choice"]["rankings"][0])


def _draw_shares(axes: Axes, report: Mapping[str, Any]) -> None:
    """A bar for each choice, made of the shares of the teachers; the smallest are one."""
    controls = report["controls"][::-1]
    top: dict[str, float] = {}
    for control in controls:
        for teacher, share in control["teachers"].items():
            top[teacher] = max(top.get(teacher, 0), share)
    shown = sorted(top, key=lambda teacher: (-top[teacher], teacher))[: len(COLOURS)]
    left = np.zeros(len(controls))
    places = range(len(controls))
    for teacher, colour in zip(sorted(shown), COLOURS, strict=False):
        widths = np.array([control["teachers"][teacher] for control in controls])
        axes.barh(places, widths, 0.7, left=left, color=colour, label=_plain(teacher))
        left += widths
    if len(shown) < len(top):
        axes.barh(places, 1 - left, 0.7, left=left, color=OTHERS, label="others")
    axes.set_yticks(list(places), [choice_of(control) for control in controls], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(controls) + 0.9)  # room for the legend
    axes.legend(fontsize=7, ncols=3, loc="upper center", frameon=False)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_title(f"teachers of the responses by {report['score']} and by others", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_ranking(axes: Axes, ranking: Mapping[str, Any]) -> None:
    """Means of the teachers with their intervals, the best on top."""
    teachers = ranking["teachers"][::-1]
    mean, low, high = (np.array([one[key] for one in teachers]) for key in ("mean", "low", "high"))
    places = range(len(teachers))
    ends = [np.maximum(mean - low, 0), np.maximum(high - mean, 0)]
    axes.errorbar(mean, places, xerr=ends, fmt="o", color="#0072B2", capsize=3)
    axes.set_yticks(list(places), [_plain(one["teacher"]) for one in teachers], fontsize=8)
    axes.set_ylim(-0.6, len(teachers) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    lower = ", lower is better" if ranking["lower_is_better"] else ""
    axes.set_title(f"teachers by mean {ranking['score']}{lower}, 95 % intervals", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(name: str) -> str:
    """A name that fits, for matplotlib, which takes what stands between dollars as a formula."""
    short = name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"
    return short.replace("$", r"\$")
