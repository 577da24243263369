"""A killed run, resumed: the same traces in every step, the same weights to the bit."""

import csv
import json
import shutil
import signal

import pytest
import torch

from tests.integration.command import nt, write_recipe
from tests.tiny import save_tiny_student

pytestmark = pytest.mark.timeout(600)
DEVICES = {
    "one": (),
    "two, ddp": ("--trainer.devices", "2", "--trainer.strategy", "ddp"),
    "two, fsdp2": ("--trainer.devices", "2", "--trainer.strategy", "fsdp2"),
}


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


def steps(folder, rank=0):
    """Ids of each step; a step that was run twice must have had the same ids twice."""
    seen = {}
    for line in (folder / f"steps-{rank}.jsonl").read_text().splitlines():
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


def test_the_last_checkpoint_has_the_final_weights(undisturbed):
    [path] = undisturbed.glob("tiny-*/checkpoints/*")
    assert path.name == "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == max(steps(undisturbed))
    assert checkpoint["global_step"] % 3  # no step at which it is saved anyway
    for name, value in torch.load(undisturbed / "weights.pt", weights_only=True).items():
        assert torch.equal(checkpoint["state_dict"][name], value), name


def test_a_finished_run_goes_on_with_more_epochs(recipe, undisturbed, tmp_path):
    fit(recipe, tmp_path, "--trainer.max_epochs", "1")
    fit(recipe, tmp_path, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    assert_same_end(tmp_path, undisturbed)


@pytest.fixture(scope="module")
def steady(recipe, tmp_path_factory):
    """Runs without dropout, whose losses can be compared: one undisturbed, three of five steps."""
    folder = tmp_path_factory.mktemp("steady")
    student = save_tiny_student(folder / "student")
    for name, how in {"undisturbed": (), **DEVICES}.items():
        stop = () if name == "undisturbed" else ("--trainer.max_steps", "5")
        fit(recipe, folder / name, "--model.model_name", student, *how, *stop)
    return folder


def losses(folder):
    """The logged loss of each step."""
    [table] = folder.glob("tiny-*/metrics.csv")
    with table.open() as rows:
        return {
            int(row["step"]): float(row["train/loss"])
            for row in csv.DictReader(rows)
            if row["train/loss"]
        }


@pytest.mark.parametrize(
    ("before", "after"),
    [("one", "two, ddp"), ("two, ddp", "one"), ("one", "two, fsdp2"), ("two, fsdp2", "one")],
)
def test_another_number_of_devices(recipe, steady, tmp_path, before, after):
    """Which traces are in a step, and its loss, do not depend on how many devices share it.

    Without dropout: every rank draws from its own generator, and on another number of ranks all
    generators begin afresh, so what dropout leaves out is then another part.
    """
    [checkpoint] = (steady / before).glob("tiny-*/checkpoints/last.ckpt")
    start = tmp_path / "start.ckpt"  # not in a run's folder: the run gets one of its own
    (shutil.copytree if checkpoint.is_dir() else shutil.copy)(checkpoint, start)
    student = ("--model.model_name", steady / "student")
    fit(recipe, tmp_path / "run", "--ckpt_path", start, *student, *DEVICES[after])
    wanted = steps(steady / "undisturbed")
    ranks = [steps(tmp_path / "run", rank) for rank in range(1 + (after != "one"))]
    assert set(ranks[0]) == set(range(6, max(wanted) + 1))
    for step in ranks[0]:
        ids = [trace_id for rank in ranks for trace_id in rank[step]]
        assert sorted(ids) == sorted(wanted[step])
    expected = losses(steady / "undisturbed")
    found = {**losses(steady / before), **losses(tmp_path / "run")}
    assert len(losses(tmp_path / "run")) == len(ranks[0])
    assert found == pytest.approx(expected, rel=1e-6, abs=0)


def optimizer(lr):
    """AdamW without decay, so that an update is the learning rate times a direction."""
    name = "nt_lightning.student.optim.PaperAdamW"
    return "--model.optimizer", name, "--model.optimizer.lr", lr, "--model.optimizer.weight_decay=0"


def weights(path):
    values = torch.load(path, weights_only=True)["state_dict"].values()
    return torch.cat([value.flatten().double() for value in values])


def test_the_command_line_wins_over_a_checkpoint(recipe, tmp_path):
    """Rate, decay and schedule: the next update goes the same way, as far as they say."""
    how = [*optimizer(1e-4), "--model.schedule", "constant"]
    fit(recipe, tmp_path / "before", "--trainer.max_steps", "5", *how)
    [checkpoint] = tmp_path.glob("before/tiny-*/checkpoints/last.ckpt")
    start = shutil.copy(checkpoint, tmp_path / "start.ckpt")
    other = [*optimizer(1e-3), "--model.schedule", "linear"]
    for name, settings in {"same": how, "other": other}.items():
        fit(recipe, tmp_path / name, "--trainer.max_steps", "6", "--ckpt_path", start, *settings)
    same, new = (
        weights(next(tmp_path.glob(f"{name}/tiny-*/checkpoints/last.ckpt"))) - weights(start)
        for name in ("same", "other")
    )
    assert same.any()
    wanted = 10 * (6 - 5) / 6 * same  # behind five of six steps
    assert (new - wanted).norm() < 1e-3 * wanted.norm()


def test_a_checkpoint_goes_with_its_data_alone(recipe, undisturbed, tmp_path):
    [checkpoint] = undisturbed.glob("tiny-*/checkpoints/last.ckpt")
    refused = fit(
        recipe, tmp_path, "--ckpt_path", checkpoint, "--data.num_traces", "30", check=False
    )
    assert refused.returncode == 2
    assert "trained on other data (different: traces)" in refused.stderr
    refused = fit(recipe, tmp_path, "--ckpt_path", checkpoint, "--model.lora.r", "4", check=False)
    assert refused.returncode == 2
    assert "the checkpoint was trained with model.lora None" in refused.stderr


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
    [good] = tmp_path.glob("tiny-*/checkpoints/last.ckpt")
    checkpoint = torch.load(good, weights_only=True)
    assert checkpoint["global_step"] == 3
    kept = checkpoint["state_dict"]
    assert all(value.isfinite().all() for value in kept.values())
