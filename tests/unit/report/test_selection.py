"""The audit as text holds its numbers, and as a picture is one, whatever the audit has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from rich.console import Console

from nt_lightning.report.selection import selection_tables, write_report
from nt_lightning.report.selection_picture import plot_selection

AUDIT: dict[str, Any] = {
    "selection": "TopicSelection",
    "pool": {"digest": "0" * 64, "traces": 12_000},
    "dropped": {"finish_reason is length": 1_500},
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
    "jaccard": [[1.0, 0.1234], [0.1234, 1.0]],
}
# one of the clusters gave nothing, so that it is not among the reasons
MIXED = [
    {"reason": "in no part's turn", "candidates": 9_000, "selected": 0},
    {"reason": "SemanticSelection: cluster 1", "candidates": 1_000, "selected": 1_000},
]
AUDITS = {
    "plain": AUDIT,
    "overlap": {**AUDIT, "overlap": OVERLAP},
    "clusters": {**AUDIT, "details": CLUSTERS},
    "clusters of a part": {**AUDIT, "details": {"SemanticSelection": CLUSTERS}, "reasons": MIXED},
    "no lengths": {**AUDIT, "lengths": {}},
    "reasons alone": {**AUDIT, "lengths": {}, "distributions": {}},
    "everything": {**AUDIT, "details": CLUSTERS, "overlap": OVERLAP},
}


def rendered(audit: dict[str, Any]) -> list[str]:
    """Lines of all tables with single blanks."""
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False, markup=False)
    for table in selection_tables(audit):
        console.print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "in the pool 12,000",
        "dropped: finish_reason is length -1,500",
        "candidates, one for each question 10,000",
        "kept for validation 64",
        "selected 1,000",
        "mean reasoning steps 1 → 2",
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


def test_overlap_and_clusters() -> None:
    lines = rendered(AUDITS["everything"])
    assert "another 0.123 1.000" in lines
    assert any("1,000 2,000" in line for line in lines)
    clusters = [line for line in lines if line.startswith(("cluster ", "noise "))]
    assert clusters[-3:] == ["cluster 1 5,000 How?", "cluster 0 2,500 Why ?", "noise 2,500"]
    about = " ".join(lines)
    assert "2 clusters, 25.0 % noise" in about
    assert "0.988" in about


@pytest.mark.parametrize("name", AUDITS)
def test_every_audit_has_a_text_and_a_picture(tmp_path: Path, name: str) -> None:
    write_report(AUDITS[name], tmp_path / "deep")
    picture = tmp_path / "deep" / "selection.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert imread(picture)[..., :3].std() > 0.05
    assert "TopicSelection" in (tmp_path / "deep" / "selection.txt").read_text(encoding="utf-8")
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
