"""What a selection by naturalness tells, as tables and panels: its numbers, whatever the names."""

from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from nt_lightning.report.naturalness_picture import naturalness_panels
from nt_lightning.report.naturalness_tables import naturalness_tables


def control(name: str, mean: float, share: float) -> dict[str, Any]:
    return {
        "name": name,
        "questions": 1_234,
        "teachers": {"[b]$one": share, "two": 1 - share},
        "mean_score": mean,
        "mean_tokens": 5_678.4,
        "tokens_per_step": 12.34,
        "overlap": share,
    }


CONTROLS = ["selection", "stratified", "random", "longest", "shortest", "best teacher: [b]$one"]
CHOICE = {
    "score": "lalp_4",
    "student": "student",
    "controls": [control(name, -1 - n / 10, 0.9 - n / 10) for n, name in enumerate(CONTROLS)],
    "gain": {"total": 0.2, "with_shares_held": 0.1},
    "warnings": [{"code": "same_family", "text": "both are [of] one"}],
}
RANKING = {
    "score": "rsr",
    "lower_is_better": True,
    "common_prompts": 4_321,
    "teachers": [
        {"teacher": "[b]$one", "mean": 2.5, "low": 2.0, "high": 3.0, "best": 0.75},
        {"teacher": "two", "mean": 2.75, "low": 2.0, "high": 3.5, "best": 0.25},
    ],
    "gap": {"value": 0.25, "low": -0.1, "high": 0.5},
}
OTHER = {**RANKING, "score": "galp", "teachers": RANKING["teachers"][::-1], "common_prompts": 9}
TEACHERS = {
    "score": "rsr",
    "rankings": [RANKING, OTHER],
    "rank_correlations": {"scores": ["rsr", "galp"], "kendall": [[1.0, -1.0], [-1.0, 1.0]]},
    "score_correlations": {"scores": ["rsr", "galp"], "spearman": [[1.0, 0.456], [0.456, 1.0]]},
    "step_length": [
        {"score": "rsr", "across": 0.5, "within": None},
        {"score": "galp", "across": -0.25, "within": 0.123},
    ],
    "warnings": [],
}


def rendered(details: dict[str, Any], width: int = 100) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False)
    for table in naturalness_tables(details):
        console.print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "line",
    [
        "questions 1,234 1,234 1,234 1,234 1,234 1,234",
        "mean lalp_4 -1 -1.1 -1.2 -1.3 -1.4 -1.5",
        "mean tokens 5,678 5,678 5,678 5,678 5,678 5,678",
        "tokens / step 12.3 12.3 12.3 12.3 12.3 12.3",
        "same response 90.0 % 80.0 % 70.0 % 60.0 % 50.0 % 40.0 %",
        "[b]$one 90.0 % 80.0 % 70.0 % 60.0 % 50.0 % 40.0 %",
        "two 10.0 % 20.0 % 30.0 % 40.0 % 50.0 % 60.0 %",
        "same_family both are [of] one",
    ],
)
def test_a_choice_and_its_controls(line: str, width: int) -> None:
    assert line in rendered({"response_choice": CHOICE}, width)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "line",
    [
        "1 [b]$one 2.5 2 to 3 75.0 %",
        "2 two 2.75 2 to 3.5 25.0 %",
        "rsr 1 2 4,321 +1.00 +1.00 +0.50 –",
        "galp 2 1 9 -1.00 +0.46 -0.25 +0.12",
    ],
)
def test_a_ranking(line: str, width: int) -> None:
    assert line in rendered({"teacher_choice": TEACHERS}, width)


def test_captions() -> None:
    text = " ".join(rendered({"response_choice": CHOICE, "teacher_choice": TEACHERS}))
    assert "lalp_4 is better than a random choice's by 0.2, and by 0.1 with each" in text
    assert "best teacher: [b]$one" in text
    assert (
        "over the 4,321 questions with rsr for all teachers; best minus second: 0.25 (-0.1" in text
    )
    alone = {**RANKING, "teachers": RANKING["teachers"][:1], "gap": None}
    assert "best minus" not in " ".join(
        rendered({"teacher_choice": {**TEACHERS, "rankings": [alone]}})
    )


def test_other_selections_have_none() -> None:
    assert rendered({"clusters": []}) == []
    assert list(naturalness_panels({})) == []


def test_panels() -> None:
    many = [
        {**one, "teachers": {f"t{n}": (n + 1) / 45 for n in range(9)}} for one in CHOICE["controls"]
    ]
    for choice in (CHOICE, {**CHOICE, "controls": many}):
        shares, ranking = naturalness_panels(
            {"response_choice": choice, "teacher_choice": TEACHERS}
        )
        figure = Figure(figsize=(10, 4))
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        shares(left)
        ranking(right)
        figure.draw_without_rendering()
        names = [text.get_text() for text in left.get_legend().get_texts()]
        shown = ["others"] if len(choice["controls"][0]["teachers"]) > 6 else []
        assert names[-1:] == (shown or ["two"])
        ends = [bar.get_x() + bar.get_width() for bar in left.patches]
        assert max(ends) == pytest.approx(1)
        assert [text.get_text() for text in left.get_yticklabels()][-1] == "selection"
        assert "lower is better" in right.get_title()
        assert [text.get_text() for text in right.get_yticklabels()] == ["two", r"[b]\$one"]
