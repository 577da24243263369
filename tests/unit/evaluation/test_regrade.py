"""``grade RUN``: stored responses judged again by today's rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.regrade import benchmarks_of, regraded
from nt_lightning.evaluation.results import (
    RunResults,
    aggregate,
    read_results,
    read_samples,
    samples_path,
    write_results,
    write_samples,
)
from tests.unit.evaluation.test_results import SAMPLE

STAGES = ("before", "test")
ROWS = [{"id": str(n), "question": f"{n} + 1?", "reference": str(n + 1)} for n in range(3)]


def run_folder(root: Path) -> Path:
    """A run over three sums whose verdicts are all wrong: right ones as wrong, and vice versa."""
    (root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    definition = {
        "class_path": "evals.file_benchmark.FileBenchmark",
        "init_args": {
            "path": str(root / "sums.jsonl"),
            "name": "sums",
            "kind": "number",
            "id": "id",
            "question": "question",
            "reference": "reference",
        },
    }
    callback = {"class_path": "x.Y", "init_args": {"benchmarks": [definition]}}
    config = {"trainer": {"callbacks": [{"class_path": "x.Other"}, callback]}}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    said = ["Answer: 1", "<think>\n</think>\n\nAnswer: 3", "Answer: 3"]
    asked = {one.id: one.question for one in benchmarks_of(root)[0].problems()}
    samples = [
        replace(
            SAMPLE,
            problem_id=str(n),
            prompt=f"<user>{asked[str(n)]}</user><think>",
            response=text,
            correct=n == 1,
            stage="test",
        )
        for n, text in enumerate(said)
    ]
    write_samples(samples_path(root, "test", "sums", "think"), samples)
    result = replace(aggregate(samples, step=7), num_reused=2)
    write_results(root, RunResults([result], settings={"test": {"sums": {"version": "0"}}}))
    return root


def test_verdicts_are_shown_and_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run = run_folder(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["grade", str(run)]) == 0
    out = capsys.readouterr().out
    assert "33.3%" in out
    assert "66.7%" in out
    assert "3: 0, 1, 2" in out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_write_puts_them_into_the_run_and_keeps_the_earlier_ones(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    earlier = (run / "results.json").read_bytes()
    assert main(["grade", str(run), "--write", "true"]) == 0
    samples = read_samples(samples_path(run, "test", "sums", "think"))
    assert [(one.answer, one.correct) for one in samples] == [
        ("1", True), ("3", False), ("3", True)
    ]  # fmt: skip
    content = read_results(run)
    (result,) = content.results
    assert (result.accuracy, result.step, result.num_reused) == (pytest.approx(2 / 3), 7, 2)
    assert content.settings["test"]["sums"]["version"] == benchmarks_of(run)[0].version
    (kept,) = run.glob("earlier-*")
    assert (kept / "results.json").read_bytes() == earlier
    old = read_samples(samples_path(kept, "test", "sums", "think"))
    assert [one.correct for one in old] == [False, True, False]


class Varying(Benchmark):
    name, version = "sums", "1"

    def problems(self) -> list[Problem]:
        return [Problem("a", "2+2? ", "4", "number")]

    def variant(self, problem: Problem, repeat: int) -> Problem:
        return Problem("a", f"2+{2 + repeat}? ", str(4 + repeat), "number")

    def grade(self, problem: Problem, answer: str) -> bool:
        return answer == problem.reference_answer


def test_what_was_not_stored_keeps_its_verdict_and_a_repeat_its_variant() -> None:
    hidden = replace(SAMPLE, prompt="", response="", correct=False, answer="4")
    shown = replace(SAMPLE, repeat=1, prompt="2+3?<think>")  # the template has cut the blank off
    kept, graded = regraded(Varying(), [hidden, shown])
    assert kept == hidden
    assert (graded.answer, graded.correct, graded.reference_answer) == ("4", False, "5")


def test_a_response_to_another_question_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        regraded(Varying(), [replace(SAMPLE, prompt="<user>2+2?</user>", repeat=1)])
    message = str(caught.value)
    assert "sums: the stored prompt of problem 'a' (repeat 1) is not the benchmark's" in message
    assert "behind 2 equal characters it has '2?</user>', the benchmark now '3?'" in message


def test_an_empty_response_is_judged_again() -> None:
    silent = replace(SAMPLE, prompt="2+2?", response="", num_tokens=1, correct=True)
    (graded,) = regraded(Varying(), [silent])
    assert (graded.outcome, graded.correct) == ("unparsed", None)


def test_a_file_with_other_questions_is_refused_and_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path)
    rows = [{**row, "question": row["question"].replace("+", "-")} for row in ROWS]
    (run / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["grade", str(run), "--write", "true"]) == 2
    assert "behind 2 equal characters it has '+ 1?" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_corrected_reference_is_told_and_no_other_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_folder(tmp_path)
    made = benchmarks_of(run)[0].version
    samples = read_samples(samples_path(run, "test", "sums", "think"))
    for stage in STAGES:
        path = samples_path(run, stage, "sums", "think")
        write_samples(path, [replace(one, stage=stage) for one in samples])
    content = replace(read_results(run), settings={s: {"sums": {"version": made}} for s in STAGES})
    write_results(run, content)
    assert main(["grade", str(run)]) == 0
    assert not caplog.messages
    rows = [{**row, "reference": "3"} for row in ROWS]
    (run / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    caplog.clear()
    assert main(["grade", str(run), "--write", "true"]) == 0
    (line,) = caplog.messages  # once, for two files
    now = benchmarks_of(run)[0].version
    assert now != made
    assert line == f"sums has changed: its responses are to version {made}; it is now {now}"
    assert {read_results(run).settings[stage]["sums"]["version"] for stage in STAGES} == {now}
    samples = read_samples(samples_path(run, "test", "sums", "think"))
    assert [one.correct for one in samples] == [False, True, True]


@pytest.mark.parametrize("version", ["0", None])
def test_without_texts_verdict_and_version_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str | None
) -> None:
    run = run_folder(tmp_path)
    hidden = [
        replace(one, stage="after", prompt="", response="", answer=None, reference_answer="")
        for one in read_samples(samples_path(run, "test", "sums", "think"))
    ]
    write_samples(samples_path(run, "after", "sums", "think"), hidden)
    (run / "evaluation" / "test" / "sums-think.jsonl").unlink()
    now = benchmarks_of(run)[0].version
    content = RunResults(
        [aggregate(hidden, step=1)], settings={"after": {"sums": {"version": version or now}}}
    )
    write_results(run, content)
    assert main(["grade", str(run), "--write", "true"]) == 2  # there is nothing to judge
    assert "sums-think.jsonl: holds no texts; its verdicts are kept" in caplog.text
    assert (f"to version 0; it is now {now}" in caplog.text) == (version == "0")
    assert read_results(run) == content


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("config.yaml", "config.yaml: there is no such file"),
        ("evaluation/test/sums-think.jsonl", "has no stored responses"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str, message: str
) -> None:
    run = run_folder(tmp_path)
    (run / spoil).unlink()
    assert main(["grade", str(run)]) == 2
    assert message in capsys.readouterr().err


def test_a_problem_that_is_gone_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path)
    (run / "sums.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    assert main(["grade", str(run)]) == 2
    assert "a stored response is to problem '1', which the benchmark no" in capsys.readouterr().err
