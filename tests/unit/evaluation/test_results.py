"""Aggregation by hand, and files that come back as they went."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import OUTCOMES
from nt_lightning.evaluation.results import (
    DomainResult,
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
    domain="sums of two",
    answer_class="right",
)


def sample(**changes: Any) -> Sample:
    return replace(SAMPLE, **changes)


def result(**changes: Any) -> Result:
    return replace(aggregate([SAMPLE], step=3), **changes)


def many() -> Result:
    """A result that has every number."""
    return aggregate(
        [
            sample(problem_id=f"p{i // 2}", repeat=i % 2, correct=i % 3 == 0, mode="no_think")
            for i in range(12)
        ],
        step=3,
    )


def test_aggregate_by_hand() -> None:
    nothing = {
        **{"answer": None, "rule": None, "span": None, "correct": None, "obedient": False},
        **{"answer_class": "", "domain": "others"},
    }
    samples = [
        sample(),
        sample(repeat=1, correct=False, num_tokens=20, answer_class="number: 5"),
        sample(problem_id="b", outcome="truncated", num_tokens=64, **nothing),
        sample(problem_id="b", repeat=1, outcome="looped", num_tokens=64, **nothing),
        sample(problem_id="c", outcome="unparsed", num_tokens=5, **nothing),
        sample(problem_id="c", repeat=1, correct=None, num_tokens=5, domain="others"),  # no verdict
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
        num_responses=6,
        num_unfinished=1,
        accuracy_interval=(0.0, pytest.approx(1 / 6 + 4.302652729749464 / 6)),  # t of 2 degrees
        accuracy_bootstrap=(0.0, pytest.approx(1 / 2)),  # aaa: 3 / 6, 1 of 27 draws
        accuracy_answered=pytest.approx(1 / 3),
        # deviations a: 1 - 2/3, c: -1/3; sqrt(2/1 * (1/9 + 1/9)) / 3
        accuracy_answered_stderr=pytest.approx(2 / 9),
        ungraded=pytest.approx(1 / 6),
        pass_at={1: pytest.approx(1 / 6), 2: pytest.approx(1 / 3)},
        pass_at_problems={1: 3, 2: 3},
        majority=pytest.approx(1 / 6),  # a: a tie of two, b: no vote, c: one vote without verdict
        # sorted: 5 5 10 20 64 64
        response_tokens={10: 5.0, 50: 15.0, 90: 64.0, 99: 64.0},
        domains={
            "others": DomainResult(0.0, 0.0, 2),
            "sums of two": DomainResult(0.5, None, 1),
        },
    )


def test_nothing_evaluated_is_null_and_never_nan(tmp_path: Path) -> None:
    got = aggregate([sample(outcome="not_evaluated", correct=None, obedient=None)], step=0)
    assert got == Result(
        **{"benchmark": "sums", "mode": "think", "stage": "after", "step": 0, "num_problems": 0},
        **dict.fromkeys(["accuracy", "accuracy_stderr", "obedience", "think_share"]),
        mean_response_tokens=None,
        outcomes=dict.fromkeys(OUTCOMES, 0.0),
        num_responses=0,
        num_unfinished=1,
    )
    odd = replace(got, accuracy=math.nan, think_share=math.inf, pass_at={1: math.nan})
    write_results(tmp_path, RunResults([odd]))
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    back = read_results(tmp_path).results[0]
    assert (back.accuracy, back.think_share, back.pass_at) == (None, None, {1: None})


def test_one_repeat_has_no_majority_and_no_pass_at_two() -> None:
    got = aggregate([sample(), sample(problem_id="b", correct=False)], step=0)
    assert (got.majority, got.pass_at) == (None, {1: 0.5})


def test_problems_with_fewer_responses_are_left_out_of_pass_at_and_counted() -> None:
    samples = [sample(repeat=repeat, correct=repeat == 3) for repeat in range(5)]
    samples += [sample(problem_id="b"), sample(problem_id="b", repeat=1, outcome="not_evaluated")]
    got = aggregate(samples, step=0)
    assert got.pass_at_problems == {1: 2, 2: 1, 4: 1}
    assert got.pass_at == pytest.approx({1: (1 / 5 + 1) / 2, 2: 2 / 5, 4: 4 / 5})


def test_problems_without_a_domain_are_in_none() -> None:
    samples = [sample(domain=""), sample(problem_id="b")]
    assert aggregate(samples, step=0).domains == {"sums of two": DomainResult(1.0, None, 1)}
    assert aggregate(samples[:1], step=0).domains == {}


def test_the_order_of_the_samples_does_not_matter() -> None:
    samples = [
        sample(problem_id=f"p{i % 7}", repeat=i // 7, correct=i % 3 == 0, num_tokens=i)
        for i in range(40)
    ]
    assert aggregate(samples[::-1], step=0) == aggregate(samples, step=0)


def test_a_response_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UserError, match="1 of 3 responses of sums in think at after are there tw"):
        aggregate([sample(), sample(repeat=1), sample()], step=0)


def test_result_fields_are_the_agreed_ones() -> None:
    assert set(vars(result())) == {
        *("benchmark", "mode", "stage", "step", "num_problems", "accuracy", "accuracy_stderr"),
        *("obedience", "think_share", "mean_response_tokens", "outcomes", "num_responses"),
        "num_unfinished",
        *("accuracy_interval", "accuracy_bootstrap", "accuracy_answered"),
        *("accuracy_answered_stderr", "ungraded", "pass_at", "pass_at_problems", "majority"),
        *("response_tokens", "domains", "num_reused"),
    }


def test_samples_come_back_as_they_went(tmp_path: Path) -> None:
    samples = [sample(), sample(problem_id="ü\x85", answer=None, span=None, correct=None)]
    path = samples_path(tmp_path, "after", "sums", "think")
    write_samples(path, samples)
    assert path.relative_to(tmp_path) == Path("evaluation/after/sums-think.jsonl")
    assert read_samples(path) == samples


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"span": null}', '{"span": null, "x": 1}'])
def test_a_strange_response_is_named(tmp_path: Path, line: str) -> None:
    path = samples_path(tmp_path, "after", "sums", "think")
    write_samples(path, [sample()])
    with path.open("a") as out:
        out.write(line + "\n")
    with pytest.raises(UserError, match="sums-think.jsonl, line 2, is not a response of this ver"):
        read_samples(path)


def test_results_come_back_as_they_went(tmp_path: Path) -> None:
    content = RunResults(
        [result(), result(stage="before", step=0), replace(many(), num_reused=5)],
        {"sums": {"chance": 0.25}},
        {"after": {"sums": {"seed": 0, "version": "1"}}},
    )
    write_results(tmp_path, content)
    assert read_results(tmp_path) == content
    assert [name for name, value in vars(many()).items() if value is None] == ["num_reused"]
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["stage"] == "after"


def test_a_file_without_the_newer_numbers_can_be_read(tmp_path: Path) -> None:
    write_results(tmp_path, RunResults([result(num_reused=3)]))
    path = tmp_path / "results.json"
    content = json.loads(path.read_text())
    names = list(content["results"][0])
    for name in names[names.index("num_responses") :]:
        del content["results"][0][name]
    path.write_text(json.dumps(content))
    (old,) = read_results(tmp_path).results
    assert old == replace(
        result(), **{"num_responses": None, "accuracy_answered": None, "ungraded": None},
        num_unfinished=None,
        **dict.fromkeys(["pass_at", "pass_at_problems", "response_tokens", "domains"], {}),
    )  # fmt: skip


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
    "text",
    ["{", '{"results": [{"stage": 1}]}', "{}", '{"results": [], "x": 1}', '{"results": [1]}'],
)
def test_a_strange_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="results.json is not a results file"):
        read_results(tmp_path)


def test_setting_aside(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    write_samples(samples_path(tmp_path, "after", "sums", "think"), [SAMPLE])
    write_results(tmp_path, RunResults([result()]))
    folder = set_aside(tmp_path)
    assert folder is not None
    assert read_results(folder).results == [result()]
    assert samples_path(folder, "after", "sums", "think").is_file()
    assert list(tmp_path.iterdir()) == [folder]
