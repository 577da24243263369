"""A job of SLURM that is queued again goes on in its own run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.command import nt, write_recipe

JOB = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
JOB |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job; a ``scontrol`` that writes down what it is asked."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    scontrol.chmod(0o755)
    return {**JOB, "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}


def fit(
    recipe: Path, folder: Path, env: dict[str, str], **stops: object
) -> subprocess.CompletedProcess[str]:
    recorder = {
        "class_path": "tests.recording.Recorder",
        "init_args": {"folder": str(folder), **stops},
    }
    callbacks = ["--trainer.callbacks+", json.dumps(recorder)]
    return nt("fit", "--config", recipe, *callbacks, check=False, **env)


def steps(folder: Path) -> list[int]:
    return [json.loads(line)[0] for line in (folder / "steps-0.jsonl").read_text().splitlines()]


def test_time_runs_out(tmp_path: Path, slurm: dict[str, str]) -> None:
    """SIGUSR1: a checkpoint, the job queued again; the new start goes on from it by itself."""
    recipe = write_recipe(tmp_path)
    stopped = fit(recipe, tmp_path, slurm, interrupt_at=5, interrupt_with="SIGUSR1")
    assert stopped.returncode == 143, stopped.stderr[-2000:]
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    done = steps(tmp_path)
    assert done[-1] in (4, 5)
    ended = fit(recipe, tmp_path, {**slurm, "SLURM_RESTART_COUNT": "1"})
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert steps(tmp_path) == list(range(1, max(steps(tmp_path)) + 1))
    assert len(list((tmp_path / "runs").glob("tiny-*"))) == 1
    assert not list((tmp_path / "runs").rglob("hpc_ckpt*"))
    assert (tmp_path / "asked").read_text() == "requeue 77\n"


def test_a_node_fails(tmp_path: Path, slurm: dict[str, str]) -> None:
    """No signal that could be heard: SLURM starts the job anew, from the last checkpoint."""
    recipe = write_recipe(tmp_path)
    killed = fit(recipe, tmp_path, slurm, kill_at=5)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "asked").exists()
    ended = fit(recipe, tmp_path, {**slurm, "SLURM_RESTART_COUNT": "1"})
    assert ended.returncode == 0, ended.stderr[-2000:]
    seen = steps(tmp_path)
    assert seen[:5] == [1, 2, 3, 4, 4]  # saved every three steps
    assert len(list((tmp_path / "runs").glob("tiny-*"))) == 1


def test_another_job_begins_its_own_run(tmp_path: Path, slurm: dict[str, str]) -> None:
    recipe = write_recipe(tmp_path)
    for job in ("77", "78"):
        env = {**slurm, "SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(int(job == "78"))}
        assert fit(recipe, tmp_path, env).returncode == 0
    assert len(list((tmp_path / "runs").glob("tiny-*"))) == 2
