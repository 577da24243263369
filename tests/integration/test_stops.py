"""Stopped and resumed: a sample of ``tests.stops``, and two processes that stop together."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from nt_lightning.student.checkpoint_io import AtomicCheckpointIO, check_checkpoint
from tests.integration.command import ROOT, nt, write_recipe

WITHIN_S = 60  # a second or two, were the machine our own
pytestmark = pytest.mark.timeout(600)


def test_four_stops_change_nothing():
    command = [sys.executable, "-W", "ignore", "-m", "tests.stops", "--stops", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["stops", "4"] in rows
    assert ["bad_other_end", "0"] in rows


def ids(folder, rank):
    """Step and ids of each step that a rank has done, in its order."""
    path = folder / f"steps-{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def arguments(recipe, folder):
    recorder = {"class_path": "tests.recording.Recorder", "init_args": {"folder": str(folder)}}
    return [
        *("fit", "--config", recipe, "--trainer.default_root_dir", folder),
        *("--trainer.devices", "2", "--trainer.strategy", "fsdp2"),
        *("--trainer.max_epochs", "200", "--trainer.callbacks+", json.dumps(recorder)),
    ]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("stops"))


@pytest.mark.parametrize(
    ("number", "to_both", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143), (signal.SIGINT, True, 130)],
)
def test_two_processes_stop_together(recipe, tmp_path, number, to_both, code):
    """At any moment of a step; ``kill`` tells the first one, Ctrl+C and SLURM tell both."""
    command = [sys.executable, "-W", "ignore", "-m", "nt_lightning", *arguments(recipe, tmp_path)]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while len(ids(tmp_path, 0)) < 4 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        (os.killpg if to_both else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=WITHIN_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, errors[-3000:]
    [last] = tmp_path.glob("tiny-*/checkpoints/last.ckpt")
    check_checkpoint(last)
    done = AtomicCheckpointIO().load_checkpoint(last)["global_step"]
    assert done == ids(tmp_path, 0)[-1][0] == ids(tmp_path, 1)[-1][0]
    nt(*arguments(recipe, tmp_path), "--ckpt_path", "last", "--trainer.max_steps", done + 2)
    for rank in range(2):
        assert [step for step, _ in ids(tmp_path, rank)] == [*range(1, done + 3)]
