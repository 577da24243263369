"""The report of a scored pool: numbers by hand, nulls, and what it says where it cannot compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.data import score_report as module
from nt_lightning.data.score_report import main_score, score_report
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.scores import find_scores
from tests.scored import Response, scored_pool


def one(question: str, teacher: str, wide: float | None, **others: Any) -> Response:
    narrow = None if wide is None else wide - 1
    own = {"lalp_0": narrow, "lalp_4": wide, "galp": wide, "unscored_reason": None}
    return question, teacher, {**own, "length": 40, "scored_steps": 4, **others}


RESPONSES = [
    one("q0", "a", -1.0, length=40),
    one("q0", "b", -2.0, length=30),
    one("q1", "a", -1.5, length=20),
    one("q1", "b", -4.0, length=10),
]


def report_of(folder: Path, responses: list[Response], **keywords: Any) -> dict[str, Any]:
    pool = scored_pool(folder, responses, **keywords)
    report = score_report(pool, find_scores(pool))
    json.dumps(report, allow_nan=False)
    return report


def test_numbers_by_hand(tmp_path: Path) -> None:
    report = report_of(tmp_path, RESPONSES)
    assert (report["score"], report["student"], report["responses"]) == ("lalp_4", "student", 4)
    assert (report["unscored"], report["incomplete"]) == (0, {})
    assert report["made_by"]["model_name"] == "student"
    assert report["teachers"]["teacher"] == "a"
    assert report["teachers"]["rankings"][0]["common_prompts"] == 2
    assert report["windows"] == [
        {
            "window": "0",
            "responses": 4,
            "mean": -3.125,
            "teachers": {"a": -2.25, "b": -4.0},
            "rank_correlation": 1.0,
        },
        {
            "window": "4",
            "responses": 4,
            "mean": -2.125,
            "teachers": {"a": -1.25, "b": -3.0},
            "rank_correlation": 1.0,
        },
    ]
    lengths = {line["score"]: line for line in report["lengths"]}
    # ranks of -1, -2, -1.5, -4 are 3, 1, 2, 0; of 40, 30, 20, 10 they are 3, 2, 1, 0
    assert lengths["lalp_4"] == {"score": "lalp_4", "tokens": 0.8, "tokens_per_step": 0.8}
    assert lengths["length"]["tokens_per_step"] == 1.0
    found = report["distributions"]["lalp_4"]["a"]
    assert found == {
        "responses": 2,
        "mean": -1.25,
        "quantiles": [-1.475, -1.375, -1.25, -1.125, -1.025],
    }
    points = report["points"]
    assert (points["of"], points["teachers"], points["teacher"]) == (4, ["a", "b"], [0, 1, 0, 1])
    assert points["score"] == [-1.0, -2.0, -1.5, -4.0]
    assert points["tokens"] == [40, 30, 20, 10]
    assert points["tokens_per_step"] == [10.0, 7.5, 5.0, 2.5]


@pytest.mark.parametrize(
    ("windows", "ordered"),
    [
        (["4", "0", "12"], ["0", "4", "12"]),
        (["25pct", "5pct", "100pct"], ["5pct", "25pct", "100pct"]),
        (["2.5pct", "4", "75pct", "0"], ["0", "4", "2.5pct", "75pct"]),
    ],
)
def test_the_widest_window_wherever_it_was_named(
    tmp_path: Path, windows: list[str], ordered: list[str]
) -> None:
    scores = {f"lalp_{window}": -1.0 for window in windows}
    responses = [("q", "a", {**scores, "unscored_reason": None})]
    report = report_of(tmp_path, responses)
    assert [line["window"] for line in report["windows"]] == ordered
    assert report["score"] == f"lalp_{ordered[-1]}"


def test_windows_are_compared_over_the_responses_that_have_all(tmp_path: Path) -> None:
    """A hard response that is too long for the wide window changes no mean of the narrow one."""
    long = one("q2", "a", None, lalp_0=-99.0)
    report = report_of(tmp_path, [*RESPONSES, long])
    assert [line["responses"] for line in report["windows"]] == [4, 4]
    assert report["windows"][0]["teachers"]["a"] == -2.25
    assert report["distributions"]["lalp_0"]["a"]["responses"] == 3
    assert report["points"]["of"] == 4


def test_reasons_that_differ_in_numbers_are_one(tmp_path: Path) -> None:
    reasons = [
        "the question has 3000 tokens; the student reads 2048",
        "the question has 2049 tokens; the student reads 2048",
        "the question and the longest runs for windows of 3, 4 steps are too long; the student "
        "reads 2048",
        None,
    ]
    responses = [one(f"q{n}", "a", -1.0, unscored_reason=why) for n, why in enumerate(reasons)]
    report = report_of(tmp_path, responses)
    assert report["unscored"] == 0  # they lack another score than the main one
    assert report["incomplete"] == {
        "the question has … tokens; the student reads …": 2,
        "the question and the longest runs for windows of … steps are too long; the student "
        "reads …": 1,
    }


def test_teachers_without_a_common_question(tmp_path: Path) -> None:
    responses = [one("q0", "a", -1.0), one("q1", "a", -2.0), one("q2", "Qwen3", -1.5, length=9)]
    report = report_of(tmp_path, responses, student="Qwen2.5-7B")
    assert report["teachers"] is None
    assert report["not_compared"] == (
        "no question has lalp_4 for all teachers (questions with it: Qwen3: 1, a: 2)"
    )
    assert [warning["code"] for warning in report["warnings"]] == ["same_family"]
    found = report["score_correlations"]
    assert found["scores"] == ["lalp_4", "length", "lalp_0", "galp"]
    assert found["spearman"][0] == [1.0, 0.0, 1.0, 1.0]
    assert [line[0] for line in found["spearman"]] == found["spearman"][0]


def test_no_response_has_a_score(tmp_path: Path) -> None:
    reason = "the response has no token"
    none = {"galp": None, "length": None, "scored_steps": None, "unscored_reason": reason}
    responses = [one("q0", teacher, None, **none) for teacher in "ab"]
    report = report_of(tmp_path, responses)
    assert (report["unscored"], report["incomplete"]) == (2, {reason: 2})
    assert report["teachers"] is None
    assert report["windows"][0]["mean"] is None
    assert report["distributions"]["lalp_4"]["a"] == {
        "responses": 0,
        "mean": None,
        "quantiles": [],
    }
    assert report["points"]["score"] == []


def test_a_missing_part_is_an_error_and_no_reason_not_to_compare(tmp_path: Path) -> None:
    pool = scored_pool(tmp_path, [one("q0", "a", -1.0, rsr=4.0)])
    with pytest.raises(UserError, match="clipped_rank_sum"):
        score_report(pool, find_scores(pool))


def test_no_local_score(tmp_path: Path) -> None:
    pool = scored_pool(tmp_path, [("q", "a", {"galp": -1.0, "unscored_reason": None})])
    with pytest.raises(UserError, match="no local score; it has: length, galp"):
        main_score(find_scores(pool))


def test_points_are_drawn_by_chance_and_not_by_the_order_of_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POINTS", 20)
    responses = [one(f"q{n:03d}", "ab"[n % 2], -1 - n / 100) for n in range(100)]
    there = report_of(tmp_path / "there", responses)
    back = report_of(tmp_path / "back", responses[::-1])
    assert there["points"]["of"] == 100
    assert len(set(there["points"]["score"])) == 20
    assert there["points"] == back["points"]
    pool = Pool(tmp_path / "there")
    other = score_report(pool, find_scores(pool), seed=1)
    assert other["points"]["score"] != there["points"]["score"]
