"""``report RUN --other OTHER``: two runs beside each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest, ttest_rel

from nt_lightning.__main__ import main
from nt_lightning.evaluation.results import (
    RunResults,
    aggregate,
    samples_path,
    write_results,
    write_samples,
)
from tests.unit.evaluation.test_results import SAMPLE


def run_folder(root: Path, verdicts: list[bool], mode: str = "think") -> Path:
    samples = [
        replace(SAMPLE, problem_id=f"p{n}", correct=right, mode=mode)
        for n, right in enumerate(verdicts)
    ]
    write_samples(samples_path(root, "after", "sums", mode), samples)
    write_results(root, RunResults([aggregate(samples, step=3)]))
    return root


def test_differences_are_those_of_other_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    left = [n % 3 == 0 for n in range(60)]
    right = [n % 3 == 0 or n % 4 == 1 for n in range(62)]
    first = run_folder(tmp_path / "first", left)
    second = run_folder(tmp_path / "second", right)
    assert main(["report", str(first), "--other", str(second)]) == 0
    (one,) = json.loads((first / "comparison.json").read_text())["comparisons"]
    values = [list(map(float, side)) for side in (left, right[:60])]
    assert one["p_value"] == pytest.approx(ttest_rel(*values).pvalue)
    gained = sum(b > a for a, b in zip(*values, strict=True))
    assert one["mcnemar_p"] == pytest.approx(binomtest(gained, gained).pvalue)
    assert (one["num_problems"], one["only_second"], len(one["gained"])) == (60, 2, gained)
    out = capsys.readouterr().out
    assert "60 (2 in one only)" in out
    assert "differences are second - first" in out
    assert (first / "samples.html").is_file()


def test_one_run_needs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run", [True, False])
    assert main(["report", str(run)]) == 0
    assert "50.0" in capsys.readouterr().out
    assert (run / "samples.html").is_file()
    assert not (run / "comparison.json").exists()


def test_runs_without_a_common_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_folder(tmp_path / "first", [True])
    second = run_folder(tmp_path / "second", [True], mode="no_think")
    assert main(["report", str(first), "--other", str(second)]) == 2
    assert "have no benchmark and mode in common" in capsys.readouterr().err


def test_a_folder_without_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err
