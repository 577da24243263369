"""Signals where the trainer's loops do not listen: while it loads, and when it has ended."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nt_lightning.student.checkpoint_io import AtomicCheckpointIO
from tests.integration.command import nt, write_recipe
from tests.integration.test_slurm import slurm  # noqa: F401


def run(
    recipe: Path, place: str, name: str, *arguments: object, command: str = "fit", **env: str
) -> subprocess.CompletedProcess[str]:
    """A command that hears a signal at one place."""
    callback = {
        "class_path": "tests.signalling.SignalAt",
        "init_args": {"place": place, "name": name},
    }
    added = ["--trainer.callbacks+", json.dumps(callback), *arguments]
    return nt(command, "--config", recipe, *added, check=False, **env)


def saved(folder: Path) -> list[Path]:
    """``last.ckpt`` of the runs."""
    return [*(folder / "runs").rglob("last.ckpt")]


@pytest.mark.parametrize("place", ["setup", "listening"])
def test_sigterm_before_the_first_step(tmp_path: Path, place: str) -> None:
    done = run(write_recipe(tmp_path), place, "SIGTERM")
    assert done.returncode == 143, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    steps = [AtomicCheckpointIO().load_checkpoint(path)["global_step"] for path in saved(tmp_path)]
    assert steps in ([], [1])  # Lightning itself looks behind a micro-batch


def test_sigterm_behind_the_last_step(tmp_path: Path) -> None:
    """Lightning has given the signal back; what was trained is whole."""
    done = run(write_recipe(tmp_path), "teardown", "SIGTERM")
    assert done.returncode == 143, done.stderr[-2000:]
    [last] = saved(tmp_path)
    assert AtomicCheckpointIO().load_checkpoint(last)["global_step"] > 0


def test_slurm_while_the_student_loads(tmp_path: Path, slurm: dict[str, str]) -> None:  # noqa: F811
    """The job is queued again, as behind a step."""
    done = run(write_recipe(tmp_path), "setup", "SIGUSR1", **slurm)
    assert done.returncode == 143, done.stderr[-2000:]
    assert (tmp_path / "asked").read_text() == "requeue 77\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stop_while_resuming_saves_nothing(tmp_path: Path, name: str, code: int) -> None:
    """The step is restored before the optimizer: a checkpoint would hold moments of no step."""
    recipe = write_recipe(tmp_path)
    assert nt("fit", "--config", recipe, "--trainer.max_epochs", 1).returncode == 0
    [last] = saved(tmp_path)
    before = last.read_bytes()
    done = run(recipe, "restoring", name, "--ckpt_path", "last")
    assert done.returncode == code, done.stderr[-2000:]
    assert last.read_bytes() == before
    assert "--ckpt_path last goes on" in done.stdout


def test_predict_hears_sigterm(tmp_path: Path) -> None:
    """Within a batch of questions, without waiting for its end."""
    recipe = write_recipe(tmp_path)
    given = ("--model.responses.max_new_tokens", 200)
    done = run(recipe, "predict", "SIGTERM", *given, command="predict")
    assert done.returncode == 143, done.stderr[-2000:]
    assert not list((tmp_path / "runs").rglob("responses*.jsonl"))
