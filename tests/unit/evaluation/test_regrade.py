"""``grade RUN``: stored responses judged again by today's rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nt_lightning.__main__ import main
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.regrade import regraded
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
    samples = [
        replace(SAMPLE, problem_id=str(n), response=text, correct=n == 1, stage="test")
        for n, text in enumerate(said)
    ]
    write_samples(samples_path(root, "test", "sums", "think"), samples)
    write_results(root, RunResults([replace(aggregate(samples, step=7))], versions={"sums": "0"}))
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
    assert (result.accuracy, result.step) == (pytest.approx(2 / 3), 7)
    assert content.versions["sums"] != "0"
    (kept,) = run.glob("earlier-*")
    assert (kept / "results.json").read_bytes() == earlier
    old = read_samples(samples_path(kept, "test", "sums", "think"))
    assert [one.correct for one in old] == [False, True, False]


class Confidential(Benchmark):
    name, version, is_confidential = "sums", "1", True

    def problems(self) -> list[Problem]:
        return [Problem("a", "2+2?", "4", "number")]

    def variant(self, problem: Problem, repeat: int) -> Problem:
        return replace(problem, reference_answer=str(4 + repeat))

    def grade(self, problem: Problem, answer: str) -> bool:
        return answer == problem.reference_answer


def test_what_was_not_stored_keeps_its_verdict_and_a_repeat_its_variant() -> None:
    hidden = replace(SAMPLE, prompt="", response="", correct=False, answer="4")
    shown = replace(SAMPLE, repeat=1)
    kept, graded = regraded(Confidential(), [hidden, shown])
    assert kept == hidden
    assert (graded.answer, graded.correct, graded.reference_answer) == ("4", False, "5")


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
