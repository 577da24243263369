"""A killed run, resumed: the same traces in every step, the same weights to the bit."""

import json
import signal

import pytest
import torch

from tests.integration.command import nt, write_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("resume"))


def fit(recipe, folder, *arguments, check=True, **stops):
    folder.mkdir(exist_ok=True)
    recorder = {"class_path": "tests.recording.Recorder", "init_args": {"folder": str(folder)}}
    recorder["init_args"].update(stops)
    return nt(
        "fit",
        "--config",
        recipe,
        "--trainer.default_root_dir",
        folder,
        "--trainer.callbacks+",
        json.dumps(recorder),
        *arguments,
        check=check,
    )


def steps(folder):
    """Ids of each step; a step that was run twice must have had the same ids twice."""
    seen = {}
    for line in (folder / "steps.jsonl").read_text().splitlines():
        step, ids = json.loads(line)
        assert seen.setdefault(step, ids) == ids
    return seen


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    fit(recipe, folder)
    return folder


def assert_same_end(folder, undisturbed):
    assert steps(folder) == steps(undisturbed)
    ours = torch.load(folder / "weights.pt", weights_only=True)
    theirs = torch.load(undisturbed / "weights.pt", weights_only=True)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_an_undisturbed_run_sees_every_trace_once_an_epoch(undisturbed):
    seen = steps(undisturbed)
    half = len(seen) // 2
    for epoch in (range(1, half + 1), range(half + 1, 2 * half + 1)):
        ids = [trace_id for step in epoch for trace_id in seen[step]]
        assert len(ids) == len(set(ids)) == 40


@pytest.mark.parametrize("kill_at", [6, 12])
def test_sigkill(recipe, undisturbed, tmp_path, kill_at):
    """In the first epoch, between two checkpoints; in the second one."""
    killed = fit(recipe, tmp_path, check=False, kill_at=kill_at)
    assert killed.returncode == -signal.SIGKILL
    assert max(steps(tmp_path)) == kill_at - 1
    fit(recipe, tmp_path, "--ckpt_path", "last")
    assert_same_end(tmp_path, undisturbed)
    assert len(list(tmp_path.glob("tiny-*"))) == 1  # the resumed run goes on in its own folder


def test_ctrl_c_in_the_middle_of_a_step(recipe, undisturbed, tmp_path):
    stopped = fit(recipe, tmp_path, check=False, interrupt_at=5)
    assert stopped.returncode == 130, stopped.stderr[-2000:]
    assert "Traceback" not in stopped.stderr
    assert max(steps(tmp_path)) == 4
    fit(recipe, tmp_path, "--ckpt_path", "last")
    assert_same_end(tmp_path, undisturbed)


def test_a_step_that_is_not_finite_changes_nothing(recipe, undisturbed, tmp_path):
    stopped = fit(recipe, tmp_path, check=False, poison_at=4)
    assert stopped.returncode == 2
    assert "the gradient of step 4 is not finite" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    for trace_id in steps(undisturbed)[4]:
        assert trace_id in stopped.stderr
    (good,) = tmp_path.glob("tiny-*/checkpoints/*step=2.ckpt")
    kept = torch.load(good, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in kept.values())
