"""``pool verify`` against recorded verdicts, gold answers and teachers' replies.

``python -m tests.benchmarks.verification`` measures the same on all of the data.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.benchmarks import verification as benchmark
from tests.integration.real_data import real_file

WORKERS = 2


def share(rows: list[dict[str, Any]], correct: bool) -> float:
    return sum(row["correct"] is correct for row in rows) / len(rows)


def test_recorded_verdicts_of_reasoning_gym_are_reproduced() -> None:
    """Of replies with an answer in tags to questions that come out the same, 98 % and more."""
    real_file("reasoning_gym_eval", "easy_4models.jsonl.gz")
    rows, _ = benchmark.verified(benchmark.gym_rows(every=10), WORKERS, limit_s=20.0)
    decided = [row for row in rows if row["tagged"] and row["correct"] is not None]
    same = sum(row["correct"] is row["recorded"] for row in decided)
    assert len(decided) > 1_000
    assert same / len(decided) >= 0.98
    reasons = Counter(row["verified_by"] for row in rows if row["correct"] is None)
    assert set(reasons) <= {"question differs", "no answer", "timeout", "failed", "unsafe"}
    # wordings that this version of reasoning-gym no longer has
    differs = {row["source"] for row in rows if row["verified_by"] == "question differs"}
    assert {name.partition("/")[2] for name in differs} <= {
        *("spell_backward", "spiral_matrix", "number_sorting", "rubiks_cube")
    }


def test_a_changed_question_or_config_is_never_judged() -> None:
    real_file("reasoning_gym_eval", "easy_4models.jsonl.gz")
    rows = benchmark.gym_rows(every=50)[:40]
    for row in rows[::2]:
        row["question"] += " Think twice."
    for row in rows[1::2]:
        row["reasoning_gym"] = json.dumps({"config": {"seed": 46, "size": 50}, "index": 49})
    found, _ = benchmark.verified(rows, WORKERS, limit_s=20.0)
    assert {(row["correct"], row["verified_by"]) for row in found} == {(None, "question differs")}


def test_gold_answers_of_math_500() -> None:
    real_file("benchmarks", "math500_test.jsonl")
    same, _ = benchmark.verified(benchmark.math_rows(), WORKERS, limit_s=20.0)
    assert len(same) == 500
    assert [row["id"] for row in same if row["correct"] is not True] == []
    pairs, _ = benchmark.verified(benchmark.pair_rows(), WORKERS, limit_s=20.0)
    assert len(pairs) == 2_000
    assert [row["id"] for row in pairs if row["correct"]] == []  # unequal by independent means
    assert share(pairs, False) >= 0.99


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("2", "2", True),
        ("\\frac{1}{2}", "\\dfrac12", True),
        ("0.5", "\\frac{1}{2}", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("90^\\circ", "90", True),
        ("\\frac{\\pi}{2}", "\\pi", False),
        ("x", "y", False),
    ],
)
def test_the_pairs_are_unequal_by_independent_means(left: str, right: str, equal: bool) -> None:
    assert benchmark.are_equal(left, right) is equal


@pytest.mark.parametrize("teacher", ["deepseekR1", "QwQ"])
def test_teachers_are_right_on_gsm8k(teacher: str) -> None:
    real_file("mip_overthinking", "response", "gsm8k", "normal", teacher, "response.json")
    rows, _ = benchmark.verified(benchmark.gsm8k_rows((teacher,)), WORKERS, limit_s=20.0)
    assert len(rows) > 500
    assert share(rows, True) > 0.9
    assert share(rows, True) + share(rows, False) > 0.98


def test_rows_that_never_end_are_timeouts_and_the_others_go_on() -> None:
    rows, meter = benchmark.verified(benchmark.hang_rows(20), WORKERS, limit_s=3.0)
    assert [row["verified_by"] for row in rows] == (["timeout"] + ["math-verify"] * 9) * 2
    assert [row["correct"] for row in rows] == ([None] + [True] * 9) * 2
    assert meter.wall_s < 20
