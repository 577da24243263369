"""What keeps a checkpoint from being written ends the run at once, and the older one stays."""

import errno
import json
import os
import subprocess

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from nt_lightning.student.checkpoint_io import AtomicCheckpointIO, CheckpointNotWritten
from tests.integration.command import nt, write_recipe
from tests.integration.saved import flip, train
from tests.stops import is_equal
from tests.tiny import save_tiny_pool, save_tiny_student

pytestmark = pytest.mark.timeout(600)
LAST = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return save_tiny_student(folder / "student"), save_tiny_pool(folder / "pool")


class At(Callback):
    """Does something once, when a number of steps is done."""

    def __init__(self, step, action):
        self.step, self.action, self.steps = step, action, 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.steps = trainer.global_step
        if trainer.global_step == self.step and batch_idx % trainer.accumulate_grad_batches == 0:
            self.action()


def fails(places, folder, action, message):
    """Step 3 is saved; what happens before step 5 is met at step 6, and the run ends there."""
    fault = At(4, action)
    with pytest.raises(CheckpointNotWritten, match=f"{folder}/{LAST} could not .*{message}"):
        train(*places, folder, more=(fault,))
    assert fault.steps == 5


def assert_older_is_whole(folder):
    assert AtomicCheckpointIO().load_checkpoint(folder / LAST)["global_step"] == 3
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk(places, small_disk):
    def fill():
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "full").write_bytes(bytes(8_000_000))

    fails(places, small_disk, fill, "No space left on device")
    assert_older_is_whole(small_disk)


def test_a_disk_that_has_become_read_only(places, small_disk):
    def protect():
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    fails(places, small_disk, protect, "Read-only file system")
    assert_older_is_whole(small_disk)


def test_a_disk_that_does_not_flush(places, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    fails(places, tmp_path, lambda: monkeypatch.setattr(os, "fsync", refuse), "Input/output error")
    monkeypatch.undo()
    assert_older_is_whole(tmp_path)


def test_a_file_in_place_of_the_folder(places, tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointNotWritten, match="could not be written"):
        train(*places, tmp_path)


def test_the_best_are_kept_as_files(places, tmp_path):
    best = ModelCheckpoint(
        tmp_path / "best", "{step}", monitor="val/loss", save_top_k=2, mode="max"
    )
    train(*places, tmp_path, more=(best,), val_check_interval=4)
    kept = sorted(path.name for path in (tmp_path / "best").iterdir())
    assert kept == sorted(os.path.basename(path) for path in best.best_k_models)
    assert len(kept) == 2
    for name in kept:
        content = AtomicCheckpointIO().load_checkpoint(tmp_path / "best" / name)
        assert name == f"step={content['global_step']}.ckpt"
        assert len(content["callbacks"]["RNGState"]["ranks"]) == 1


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("command"))


def fit(recipe, folder, *arguments):
    return nt(
        "fit", "--config", recipe, "--trainer.default_root_dir", folder, *arguments, check=False
    )


def full_disk(step, rank):
    return json.dumps(
        {
            "class_path": "tests.integration.saved.FullDisk",
            "init_args": {"step": step, "rank": rank},
        }
    )


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_command_says_what_and_where(recipe, tmp_path, ranks):
    """Under ddp only the first rank writes; the second one does not wait for it."""
    devices = ["--trainer.devices", ranks, "--trainer.strategy", "ddp" if ranks > 1 else "auto"]
    failed = fit(recipe, tmp_path, "--trainer.callbacks+", full_disk(4, 0), *devices)
    assert failed.returncode == 2, failed.stderr[-3000:]
    [last] = tmp_path.glob(f"tiny-*/{LAST}")
    assert f"the checkpoint {last} could not be written: [Errno 27] File too large" in failed.stderr
    assert AtomicCheckpointIO().load_checkpoint(last)["global_step"] == 3


def test_a_damaged_checkpoint_is_not_gone_on_with(recipe, tmp_path):
    fit(recipe, tmp_path, "--trainer.max_steps", 2)
    [last] = tmp_path.glob(f"tiny-*/{LAST}")
    flip(last, 5000)
    refused = fit(recipe, tmp_path, "--ckpt_path", "last")
    assert refused.returncode == 2
    assert f"{last} is damaged: its SHA-256 is not that of what was written" in refused.stderr
    assert "Traceback" not in refused.stderr


IN_A_THREAD = ("--trainer.plugins", "lightning.pytorch.plugins.io.AsyncCheckpointIO")


def test_saved_in_a_thread(recipe, tmp_path):
    """Lightning's AsyncCheckpointIO around ours: the same files, and a run goes on from them."""
    ends = []
    for name, options in {"thread": IN_A_THREAD, "plain": ()}.items():
        done = fit(recipe, tmp_path / name, "--trainer.max_steps", 5, *options)
        assert done.returncode == 0, done.stderr[-3000:]
        [last] = tmp_path.glob(f"{name}/tiny-*/{LAST}")
        content = AtomicCheckpointIO().load_checkpoint(last)
        ends.append(
            {key: content[key] for key in ("global_step", "state_dict", "optimizer_states")}
        )
    assert is_equal(*ends)
    after = fit(recipe, tmp_path / "thread", "--ckpt_path", "last", *IN_A_THREAD)
    assert after.returncode == 0, after.stderr[-3000:]
    [last] = tmp_path.glob(f"thread/tiny-*/{LAST}")
    assert AtomicCheckpointIO().load_checkpoint(last)["global_step"] == 16


def test_a_failure_in_a_thread_is_heard_at_the_next_save(recipe, tmp_path):
    failed = fit(recipe, tmp_path, "--trainer.callbacks+", full_disk(4, 0), *IN_A_THREAD)
    assert failed.returncode == 2, failed.stderr[-3000:]
    [last] = tmp_path.glob(f"tiny-*/{LAST}")
    assert f"the checkpoint {last} could not be written: [Errno 27] File too large" in failed.stderr
    steps = AtomicCheckpointIO().load_checkpoint(last)["global_step"]
    assert steps in (3, 9)  # the next one is on its way then, and there may be room again


def test_no_thread_where_all_ranks_write(recipe, tmp_path):
    failed = fit(recipe, tmp_path, "--trainer.strategy", "fsdp2", *IN_A_THREAD)
    assert failed.returncode == 2, failed.stderr[-3000:]
    assert "AsyncCheckpointIO under fsdp2; allowed there: none" in failed.stderr.splitlines()[-1]
