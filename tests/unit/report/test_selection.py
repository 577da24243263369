"""The audit as text and as a picture holds its numbers, whatever the audit has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.image import imread
from rich.console import Console

from nt_lightning.report.audit_rows import ranges_of, steps_of, token_budget_of
from nt_lightning.report.selection import selection_tables, write_report
from nt_lightning.report.selection_picture import draw_selection, plot_selection

AUDIT: dict[str, Any] = {
    "selection": "TopicSelection",
    "budget": {"num_traces": 1_000, "num_tokens": None},
    "filters": {"finish_reason": ["stop"], "loops": True},
    "teachers": ["one", "two"],
    "pool": {"digest": "0" * 64, "traces": 12_000},
    "dropped": {"finish_reason is length": 1_500, "loops": 0},
    "left_by_filters": 10_500,
    "candidates": 10_000,
    "validation": 64,
    "selected": 1_000,
    "reasons": [
        {"reason": "maths", "candidates": 7_000, "selected": 300},
        {"reason": "law [/s]", "candidates": 2_936, "selected": 700},
        {"reason": "kept for validation", "candidates": 64, "selected": 0},
    ],
    "distributions": {
        "domain": [
            {"value": "maths", "before": 7_500, "after": 300},
            {"value": None, "before": 2_500, "after": 700},
        ],
        "reasoning_strategies": [{"value": "backtracking", "before": 5_000, "after": 900}],
        "verbosity": [
            {"value": 10, "before": 6_000, "after": 250},
            {"value": None, "before": 3_000, "after": 250},
            {"value": 9, "before": 1_000, "after": 500},
        ],
        "models_agree": [
            {"value": True, "before": 6_400, "after": 640},
            {"value": False, "before": 3_600, "after": 360},
        ],
    },
    "lengths": {
        "num_steps": {
            "edges": [0.5, 1.5, 2.5],
            "before": [6_000, 4_000],
            "after": [100, 900],
            "mean": [1.4, 1.9],
            "median": [1.0, 2.0],
            "sum": [14_000.0, 1_900.0],
        },
        "response_tokens": {
            "edges": [10.0, 100.0, 1_000.0],
            "before": [9_000, 1_000],
            "after": [0, 1_000],
            "mean": [1_234.5, 5_432.1],
            "median": [50.0, 500.0],
            "sum": [12_345_000.0, 5_432_100.0],
        },
    },
    "details": {},
}
CLUSTERS = {
    "num_clusters": 2,
    "noise_share": 0.25,
    "fitted": 10_000,
    "agreement": 0.9876,
    "agreement_points": 5_000,
    "clusters": [
        {"name": "cluster 0", "size": 2_500, "nearest_ids": ["a"], "nearest_questions": ["Why\n?"]},
        {"name": "cluster 1", "size": 5_000, "nearest_ids": ["b"], "nearest_questions": ["How?"]},
        {"name": "noise", "size": 2_500, "nearest_ids": [], "nearest_questions": []},
    ],
}
OVERLAP = {
    "names": ["this one", "another"],
    "sizes": [1_000, 2_000],
    "shared": [[1_000, 329], [329, 2_000]],
    "jaccard": [[1.0, 0.1232], [0.1232, 1.0]],
}
# one of the clusters gave nothing, so that it is not among the reasons
MIXED = [
    {"reason": "in no part's turn", "candidates": 9_000, "selected": 0},
    {"reason": "SemanticSelection: cluster 1", "candidates": 1_000, "selected": 1_000},
]
# the response tokens 10 to 99 in one range, 100 to 999 in the other
BY_LENGTH = {
    **AUDIT,
    "selection": "LongSelection",
    "reasons": [{"reason": "under 1,000 tokens", "candidates": 10_000, "selected": 1_000}],
}
BY_TOKENS = {**AUDIT, "budget": {"num_traces": None, "num_tokens": 5_500_000}}
AUDITS = {
    "plain": AUDIT,
    "by length": BY_LENGTH,
    "overlap": {**AUDIT, "overlap": OVERLAP},
    "clusters": {**AUDIT, "details": CLUSTERS},
    "clusters of a part": {**AUDIT, "details": {"SemanticSelection": CLUSTERS}, "reasons": MIXED},
    "no lengths": {**AUDIT, "lengths": {}},
    "reasons alone": {**AUDIT, "lengths": {}, "distributions": {}},
    "everything": {**AUDIT, "details": CLUSTERS, "overlap": OVERLAP},
}


def rendered(audit: dict[str, Any], width: int = 120) -> list[str]:
    """Lines of all tables with single blanks."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False)
    for table in selection_tables(audit):
        console.print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "in the pool 12,000",
        "dropped: finish_reason is length -1,500",
        "dropped: loops 0",
        "left by filters 10,500",
        "by others than one, two, or of the same question -500",
        "candidates, one for each question 10,000",
        "kept for validation -64",
        "not selected -8,936",
        "selected 1,000",
        "mean reasoning steps 1.4 → 1.9",
        "mean response tokens 1,234 → 5,432",
        "maths 7,000 300 4.3 %",
        "law [/s] 2,936 700 23.8 %",
        "domains maths 75.0 % 30.0 % 300",
        "(null) 25.0 % 70.0 % 700",
        "reasoning strategies backtracking 50.0 % 90.0 % 900",
        "models agree yes 64.0 % 64.0 % 640",
        "no 36.0 % 36.0 % 360",
    ],
)
def test_the_tables_hold_the_numbers(line: str) -> None:
    assert line in rendered(AUDIT)


def test_verbosity_stands_in_the_order_of_its_scale() -> None:
    lines = rendered(AUDIT)
    first = lines.index("verbosity 9 10.0 % 50.0 % 500")
    assert lines[first + 1 : first + 3] == [
        "10 60.0 % 25.0 % 250",
        "(null) 30.0 % 25.0 % 250",
    ]


def test_more_values_than_there_is_room_for_are_one_line() -> None:
    """Thirty reasons: eleven alone, and 19 of 10 candidates each, of which 1 was taken."""
    reasons = [{"reason": f"r{n}", "candidates": 10, "selected": 1} for n in range(30)]
    lines = rendered({**AUDIT, "reasons": reasons})
    assert "r10 10 1 10.0 %" in lines
    assert not any(line.startswith("r11") for line in lines)
    assert "19 more 190 19 10.0 %" in lines


def test_the_steps_add_up() -> None:
    """The changes since a number that is left give the next one; all are there without a filter."""
    bare = {**AUDIT, "filters": {}, "dropped": {}, "left_by_filters": 12_000, "teachers": None}
    for audit in (AUDIT, bare):
        left = 0
        for step in steps_of(audit):
            left = step.traces if not left else left + (0 if step.is_left else step.traces)
            assert step.traces == left or not step.is_left
        assert left == 1_000
    lines = rendered(bare)
    assert "left by filters (none given) 12,000" in lines
    assert "other traces of the same question -2,000" in lines


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ((2.2, 2.5), "2.2 → 2.5"),
        ((99.0, 104.0), "99.0 → 104.0"),
        ((104.4, 99.9), "104.4 → 99.9"),
        ((1_234.6, 100.2), "1,235 → 100"),
    ],
)
def test_means_before_and_after_have_the_same_digits(
    means: tuple[float, float], shown: str
) -> None:
    lengths = {"num_steps": {**AUDIT["lengths"]["num_steps"], "mean": list(means)}}
    assert f"mean reasoning steps {shown}" in rendered({**AUDIT, "lengths": lengths})


def test_a_budget_in_tokens_stands_beside_what_was_spent() -> None:
    assert "tokens of their responses, at most 5,500,000 5,432,100" in rendered(BY_TOKENS)
    assert token_budget_of(BY_TOKENS) == (5_432_100, 5_500_000)
    assert not any("at most" in line for line in rendered(AUDIT))


def test_lengths_are_shown_in_ranges_of_the_candidates_own() -> None:
    """Of 12 candidates 2, 4, ... end a range; the fourth bin reaches from 3 beyond 8 of them."""
    histogram = {
        **AUDIT["lengths"]["response_tokens"],
        "edges": [1.0, 4.5, 5.9, 7.3, 9.0, 12.1, 13.0],
        "before": [1, 1, 1, 5, 0, 4],
        "after": [0, 1, 0, 2, 0, 1],
    }
    (found,) = ranges_of({**BY_LENGTH, "lengths": {"response_tokens": histogram}})
    assert found.rows == [
        ("1 to 5 tokens", 2, 1),
        ("6 to 8 tokens", 6, 2),
        ("9 to 12 tokens", 4, 1),
    ]
    assert (found.before, found.after) == (12, 4)
    one = {**histogram, "edges": [6.5, 7.5], "before": [12], "after": [4]}
    (found,) = ranges_of({**BY_LENGTH, "lengths": {"response_tokens": one}})
    assert found.rows == [("7 tokens", 12, 4)]
    assert not list(ranges_of(AUDIT))


def test_overlap_and_clusters() -> None:
    """329 common traces of 1,000 and of 2,000 are a third of the smaller."""
    lines = rendered(AUDITS["everything"])
    assert "this one (1,000) another (2,000) 329 32.9 % 0.123" in lines
    clusters = [line for line in lines if line.startswith(("cluster ", "noise "))]
    assert clusters[-3:] == ["cluster 1 5,000 How?", "cluster 0 2,500 Why ?", "noise 2,500"]
    about = " ".join(lines)
    assert "2 clusters, 25.0 % noise" in about
    assert "0.988" in about


@pytest.mark.parametrize("width", [40, 80, 100])
def test_of_a_cluster_the_question_alone_is_cut(width: int) -> None:
    question = "How many of the " + "very " * 50 + "long questions are there?"
    clusters = [
        {"name": f"cluster {n}", "size": 12_345, "nearest_ids": ["a"], "nearest_questions": [text]}
        for n, text in ((100, question), (101, "x" * 300))
    ]
    lines = rendered({**AUDIT, "details": {**CLUSTERS, "clusters": clusters}}, width)
    assert any(line.startswith("cluster questions ") for line in lines)
    first, second = (line for line in lines if line.startswith("cluster 10"))
    assert first.startswith("cluster 100 12,345 How many of")
    assert first.endswith("…")
    assert second.startswith("cluster 101 12,345 xxxx")
    assert second.endswith("x…")


@pytest.mark.parametrize("name", AUDITS)
def test_every_audit_has_a_text_and_a_picture(tmp_path: Path, name: str) -> None:
    write_report(AUDITS[name], tmp_path / "deep")
    picture = tmp_path / "deep" / "selection.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert imread(picture)[..., :3].std() > 0.05
    assert AUDITS[name]["selection"] in (tmp_path / "deep" / "selection.txt").read_text(
        encoding="utf-8"
    )
    assert {path.name for path in picture.parent.iterdir()} == {"selection.png", "selection.txt"}


def test_names_that_are_no_plain_text(tmp_path: Path) -> None:
    """Formulas, markup and letters that the font lacks stand as they are, without a warning."""
    names = [r"$\frac", "$x$ and $y$", "[bold]", "[/]", "数学", "_^\\"]
    counted = [{"value": name, "before": 10, "after": 1} for name in names]
    reasons = [{"reason": name, "candidates": 10, "selected": 1} for name in names]
    others = {**OVERLAP, "names": [r"$\run", "run"]}
    audit = {**AUDIT, "distributions": {"domain": counted}, "reasons": reasons, "overlap": others}
    plot_selection(audit, tmp_path / "picture.png")
    write_report(audit, tmp_path)
    text = (tmp_path / "selection.txt").read_text(encoding="utf-8")
    for name in names:
        assert text.count(name) >= 2


def drawn(audit: dict[str, Any]) -> dict[str, Axes]:
    """The panels by their titles, drawn, so that their ticks are what the picture shows."""
    figure = draw_selection(audit)
    figure.draw_without_rendering()
    return {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}


def shown_ticks(axis: Axis) -> list[str]:
    """Labels of the ticks that lie within an axis."""
    low, high = sorted(axis.get_view_interval())
    pairs = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    return [label.get_text() for place, label in pairs if low <= place <= high]


@pytest.mark.parametrize("largest", [0.4, 1.1, 2, 9, 18, 40, 75, 100])
def test_ticks_in_percent_are_even(largest: float) -> None:
    """One digit after the point where one of them is no whole number, and none otherwise."""
    counted = [{"value": "backtracking", "before": round(100 * largest), "after": 0}]
    panels = drawn({**AUDIT, "distributions": {"reasoning_strategies": counted}})
    labels = shown_ticks(panels["reasoning strategies"].xaxis)
    ticks = [float(label.removesuffix("%")) for label in labels]
    assert len(ticks) >= 3
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])
    is_fractional = any(tick != round(tick) for tick in ticks)
    assert all(("." in label) == is_fractional for label in labels)


def test_ticks_of_lengths_are_whole_numbers() -> None:
    panels = drawn(AUDIT)
    assert shown_ticks(panels["reasoning steps"].xaxis) == ["1", "2"]
    labels = shown_ticks(panels["response tokens"].xaxis)
    assert labels == ["10", "20", "50", "100", "200", "500", "1,000"]
    wide = {**AUDIT["lengths"]["response_tokens"], "edges": [28.0, 670.0, 16_001.0]}
    panels = drawn({**AUDIT, "lengths": {"response_tokens": wide}})
    assert shown_ticks(panels["response tokens"].xaxis) == ["100", "1,000", "10,000"]


def test_a_long_name_is_cut_with_an_ellipsis() -> None:
    counted = [{"value": "a long name " * 9, "before": 10, "after": 1}]
    others = {**OVERLAP, "names": ["/somewhere/else/a/selection", "b/selection"]}
    panels = drawn({**AUDIT, "distributions": {"domain": counted}, "overlap": others})
    assert shown_ticks(panels["domains"].yaxis) == ["a long name a long name a long na…"]
    found = shown_ticks(panels["overlap: Jaccard and shared traces"].yaxis)
    assert found == ["…re/else/a/selection", "b/selection"]


def test_the_picture_tells_clusters_from_noise() -> None:
    """2,500 of 10,000 are noise; what was taken of it is a dot, not one more cluster."""
    panels = drawn(AUDITS["clusters"])
    axes = panels["clusters: 2; noise: 25.0 % of the traces"]
    steps = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "None"]
    dots = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "o"]
    assert steps == [[5_000, 2_500]]
    assert dots == [[2_500]]
    assert shown_ticks(axes.xaxis) == ["1", "2"]


def test_the_picture_shows_lengths_in_ranges() -> None:
    panels = drawn(BY_LENGTH)
    names = shown_ticks(panels["response tokens, in ranges"].yaxis)
    assert names == ["100 to 999 tokens", "10 to 99 tokens"]
    assert "reasons" not in panels
    assert "10 to 99 tokens 9,000 0 0.0 %" in rendered(BY_LENGTH)
    assert "100 to 999 tokens 1,000 1,000 100.0 %" in rendered(BY_LENGTH)


def test_the_picture_of_an_overlap_has_the_shared_traces() -> None:
    panels = drawn(AUDITS["overlap"])
    texts = [text.get_text() for text in panels["overlap: Jaccard and shared traces"].texts]
    assert texts == ["1.00\n1,000", "0.12\n329", "0.12\n329", "1.00\n2,000"]
