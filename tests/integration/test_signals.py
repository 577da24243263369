"""Signals where the trainer's loops do not listen: while it loads, and when it has ended."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress
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


@pytest.mark.parametrize(("place", "steps"), [("setup", []), ("listening", [1])])
def test_sigterm_before_the_first_step(tmp_path: Path, place: str, steps: list[int]) -> None:
    """Once Lightning listens, it looks behind the first step, and ours leaves that to it."""
    options = ("--trainer.num_sanity_val_steps", 0, "--data.tokens_per_step", 256)
    done = run(write_recipe(tmp_path), place, "SIGTERM", *options)
    assert done.returncode == 143, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    files = saved(tmp_path)
    assert [AtomicCheckpointIO().load_checkpoint(file)["global_step"] for file in files] == steps


def is_running(recipe: Path) -> bool:
    """Whether a process has this recipe on its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if str(recipe) in file.read_bytes().decode(errors="replace"):
                return True
    return False


def test_sigterm_to_the_rank_that_has_started_the_other(tmp_path: Path) -> None:
    """The other one waits for the student, and is ended, too."""
    two = ("--trainer.devices", 2, "--trainer.strategy", "fsdp2")
    recipe = write_recipe(tmp_path)
    done = run(recipe, "setup of the first", "SIGTERM", *two)
    assert done.returncode == 143, done.stderr[-2000:]
    until = time.monotonic() + 30
    while is_running(recipe):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("place", ["end", "teardown"])
def test_sigterm_behind_the_last_step(tmp_path: Path, place: str) -> None:
    """No loop looks any more, or Lightning has given the signal back; what was trained is whole."""
    done = run(write_recipe(tmp_path), place, "SIGTERM")
    assert done.returncode == 143, done.stderr[-2000:]
    [last] = saved(tmp_path)
    assert AtomicCheckpointIO().load_checkpoint(last)["global_step"] == 16


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
    """Within a batch of questions: nothing of it is written."""
    recipe = write_recipe(tmp_path)
    given = ("--model.responses.max_new_tokens", 200)
    done = run(recipe, "predict", "SIGTERM", *given, command="predict")
    assert done.returncode == 143, done.stderr[-2000:]
    assert not list((tmp_path / "runs").rglob("*responses*.jsonl"))
