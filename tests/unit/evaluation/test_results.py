"""Aggregation by hand, and files that come back as they went."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import (
    Result,
    RunResults,
    Sample,
    aggregate,
    read_results,
    read_samples,
    samples_path,
    set_aside,
    write_results,
    write_samples,
)

SAMPLE = Sample(
    benchmark="sums",
    problem_id="a",
    mode="think",
    stage="after",
    repeat=0,
    prompt="2+2?<think>",
    response="<think>\u2028x\n</think> Answer: 4",
    num_tokens=10,
    finish_reason="stop",
    outcome="answered",
    answer="4",
    rule="answer_colon",
    span=(27, 28),
    correct=True,
    obedient=True,
    opened_think=True,
    reference_answer="4",
)


def sample(**changes: Any) -> Sample:
    return replace(SAMPLE, **changes)


def result(**changes: Any) -> Result:
    return replace(aggregate([SAMPLE], step=3), **changes)


def test_aggregate_by_hand() -> None:
    nothing = {"answer": None, "rule": None, "span": None, "correct": None, "obedient": False}
    samples = [
        sample(),
        sample(repeat=1, correct=False, num_tokens=20),
        sample(problem_id="b", outcome="truncated", num_tokens=64, **nothing),
        sample(problem_id="b", repeat=1, outcome="looped", num_tokens=64, **nothing),
        sample(problem_id="c", outcome="unparsed", num_tokens=5, **nothing),
        sample(problem_id="c", repeat=1, correct=None, num_tokens=5),  # no verdict
        sample(problem_id="d", outcome="not_evaluated", num_tokens=7, **nothing),
    ]
    got = aggregate(samples, step=12)
    assert got == Result(
        benchmark="sums",
        mode="think",
        stage="after",
        step=12,
        num_problems=3,
        accuracy=pytest.approx(1 / 6),
        # deviations a: 1 - 2/6, b and c: -2/6; sqrt(3/2 * (4/9 + 1/9 + 1/9)) / 6
        accuracy_stderr=pytest.approx(1 / 6),
        obedience=pytest.approx(3 / 6),
        think_share=1.0,
        mean_response_tokens=pytest.approx(168 / 6),
        outcomes={
            "answered": pytest.approx(3 / 6),
            "unparsed": pytest.approx(1 / 6),
            "truncated": pytest.approx(1 / 6),
            "looped": pytest.approx(1 / 6),
        },
    )


def test_nothing_evaluated_is_null_and_never_nan(tmp_path: Path) -> None:
    got = aggregate([sample(outcome="not_evaluated", correct=None, obedient=None)], step=0)
    assert (got.num_problems, got.accuracy, got.accuracy_stderr, got.obedience) == (0, *[None] * 3)
    odd = replace(got, accuracy=math.nan, think_share=math.inf)
    write_results(tmp_path, RunResults([odd]))
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read_results(tmp_path).results[0].accuracy is None


def test_result_fields_are_the_agreed_ones() -> None:
    assert set(vars(result())) == {
        *("benchmark", "mode", "stage", "step", "num_problems", "accuracy", "accuracy_stderr"),
        *("obedience", "think_share", "mean_response_tokens", "outcomes"),
    }


def test_samples_come_back_as_they_went(tmp_path: Path) -> None:
    samples = [sample(), sample(problem_id="ü\x85", answer=None, span=None, correct=None)]
    path = write_samples(tmp_path, samples)
    assert path == samples_path(tmp_path, "after", "sums", "think")
    assert path.relative_to(tmp_path) == Path("evaluation/after/sums-think.jsonl")
    assert read_samples(path) == samples


def test_results_come_back_as_they_went(tmp_path: Path) -> None:
    content = RunResults(
        [result(), result(stage="before", step=0)],
        {"sums": {"chance": 0.25}},
        {"sums": "1"},
        {"after": {"seed": 0}},
    )
    write_results(tmp_path, content)
    assert read_results(tmp_path) == content
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["stage"] == "after"


def test_adding_replaces_the_same_stage_and_keeps_the_others() -> None:
    content = RunResults()
    for stage, step in (("before", 0), ("after", 2), ("after", 4)):
        content.add(result(stage=stage, step=step))
        content.add(result(stage=stage, step=step, mode="no_think"))
    assert [(r.stage, r.step, r.mode) for r in content.results] == [
        ("before", 0, "think"),
        ("before", 0, "no_think"),
        ("after", 4, "think"),
        ("after", 4, "no_think"),
    ]
    name = content.results[0].benchmark
    assert content.has(name, "think", "after", 4)
    assert not content.has(name, "think", "after", 2)
    assert not content.has(name, "adaptive", "after", 4)


def test_no_file_is_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path) == RunResults()


@pytest.mark.parametrize(
    "text", ["{", '{"results": [{"stage": 1}]}', "{}", '{"results": [], "x": 1}']
)
def test_a_strange_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="results.json is not a results file"):
        read_results(tmp_path)


def test_setting_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    write_samples(tmp_path, [SAMPLE])
    write_results(tmp_path, RunResults([result()]))
    folder = set_aside(tmp_path)
    assert folder is not None
    assert read_results(folder).results == [result()]
    assert samples_path(folder, "after", "sums", "think").is_file()
    assert list(tmp_path.iterdir()) == [folder]
