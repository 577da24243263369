"""``report RUN --other OTHER``: two runs beside each other."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest, ttest_rel

from nt_lightning.__main__ import main
from nt_lightning.evaluation.results import (
    aggregate,
    read_results,
    samples_path,
    write_results,
    write_samples,
)
from tests.unit.evaluation.test_results import SAMPLE


def run_folder(
    root: Path,
    verdicts: list[bool],
    mode: str = "think",
    stage: str = "after",
    version: str = "1",
    benchmark: str = "sums",
    **settings: Any,
) -> Path:
    """Adds a benchmark's responses and result to a run."""
    samples = [
        replace(
            SAMPLE,
            benchmark=benchmark,
            problem_id=f"p{n}",
            correct=right,
            mode=mode,
            stage=stage,
        )
        for n, right in enumerate(verdicts)
    ]
    write_samples(samples_path(root, stage, benchmark, mode), samples)
    content = read_results(root)
    content.add(aggregate(samples, step=3))
    if settings:
        content.settings.setdefault(stage, {})[benchmark] = {"version": version, **settings}
    write_results(root, content)
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
    assert f"differences are {second} (after) - {first} (after)" in out
    assert "warning" not in out
    assert (first / "samples.html").is_file()


def test_one_run_needs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run", [True, False])
    assert main(["report", str(run)]) == 0
    assert "50.0" in capsys.readouterr().out
    assert (run / "samples.html").is_file()
    assert not (run / "comparison.json").exists()


def test_before_against_after_of_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(run_folder(tmp_path, [False, True, False], stage="before"))
    run_folder(tmp_path, [True, True, True], stage="step-5")
    run_folder(tmp_path, [True, True, False], stage="after")
    assert main(["report", run, "--other", run, "--stage", "before"]) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["stages"] == ["before", "after"]
    assert content["comparisons"][0]["gained"] == ["p0"]
    assert f"differences are {run} (after) - {run} (before)" in capsys.readouterr().out
    page = (tmp_path / "samples.html").read_text()
    for text in ("A, before", "B, after"):
        assert text in page
    assert main(["report", run, "--other", run, "--stage", "after", "--other_stage", "step-5"]) == 0
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert (content["stages"], content["comparisons"][0]["gained"]) == (["after", "step-5"], ["p2"])
    (data,) = re.findall('id="data">([^<]*)<', (tmp_path / "samples.html").read_text())
    names = json.loads(zlib.decompress(base64.b64decode(data)))["names"]
    assert names == [f"{tmp_path.name}, after", f"{tmp_path.name}, step-5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--other", "{run}"], "is compared with itself; give other_stage"),
        (["--stage", "before"], "--stage before chooses what is compared, and there is no --other"),
        (["--other_stage", "before"], "--other_stage before chooses what is compared, and"),
        (["--other", "{run}", "--stage", "test"], "stage 'test' is not in the run; there: before,"),
    ],
)
def test_wrong_stages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    run = str(run_folder(tmp_path, [False], stage="before"))
    run_folder(tmp_path, [True])
    assert main(["report", run, *(option.format(run=run) for option in options)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "comparison.json").exists()


def test_what_was_not_alike_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alike = {"seed": 3, "top_p": 0.9}
    student = {"weights": "abc", "formatter": "f", "dtype": "float32"}
    left = alike | {"max_new_tokens": 64, "batch_size": 2, "forcing": None, "student": student}
    other = student | {"weights": "abd", "dtype": "bfloat16"}
    right = alike | {"max_new_tokens": 128, "forcing": {"num_waits": 1}, "student": other}
    first = run_folder(tmp_path / "first", [True], **left)
    second = run_folder(tmp_path / "second", [True], version="2 [x]", **right)
    run_folder(first, [True], mode="no_think", **left)
    run_folder(second, [True], mode="adaptive", version="2 [x]", **right)
    assert main(["report", str(first), "--other", str(second)]) == 0
    content = json.loads((first / "comparison.json").read_text())
    assert content["differing"] == {
        "version of sums": ["1", "2 [x]"],
        "max_new_tokens": [64, 128],
        "forcing": [None, {"num_waits": 1}],
        "student.dtype": ["float32", "bfloat16"],
    }
    assert content["only_first"] == [["sums", "no_think"]]
    assert content["only_second"] == [["sums", "adaptive"]]
    lines = capsys.readouterr().out.splitlines()
    assert f"warning: only in {first} (after): sums in no_think" in lines
    assert f"warning: only in {second} (after): sums in adaptive" in lines
    assert lines[-2] == (
        "warning: they were not evaluated alike: version of sums '1', '2 [x]'; max_new_tokens 64, "
        "128; forcing None, {'num_waits': 1}; student.dtype 'float32', 'bfloat16'"
    )


def test_benchmarks_that_were_not_asked_alike_are_named(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for benchmark, right in (("sums", 32), ("words", 64)):
        run_folder(first, [True], benchmark=benchmark, seed=1, max_new_tokens=64, repeats=1)
        run_folder(second, [True], benchmark=benchmark, seed=2, max_new_tokens=right, repeats=1)
    assert main(["report", str(first), "--other", str(second)]) == 0
    assert json.loads((first / "comparison.json").read_text())["differing"] == {
        "seed": [1, 2],
        "max_new_tokens of sums": [64, 32],
    }


def test_settings_that_are_not_known_do_not_differ(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "first", [True], max_new_tokens=64)
    second = run_folder(tmp_path / "second", [True])
    assert main(["report", str(first), "--other", str(second)]) == 0
    assert json.loads((first / "comparison.json").read_text())["differing"] == {}


def test_runs_without_a_common_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_folder(tmp_path / "first", [True])
    second = run_folder(tmp_path / "second", [True], mode="no_think")
    assert main(["report", str(first), "--other", str(second)]) == 2
    assert "have no benchmark and mode in common" in capsys.readouterr().err


def test_a_folder_without_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err
