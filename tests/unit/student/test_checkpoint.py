"""Checkpoints are whole or absent, and stand at a whole step."""

import resource

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint import AtomicCheckpointIO, align_to_step


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    """A limit on the size of files fails the write as a full disk does: in the middle."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"value": torch.ones(3)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"last.ckpt could not be written: .*intact"):
            AtomicCheckpointIO().save_checkpoint({"value": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path, weights_only=True)["value"].tolist() == [1, 1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file" / "last.ckpt")


def checkpoint(processed, steps, batches):
    counts = dict.fromkeys(("ready", "started", "processed", "completed"), processed)
    progress = {"current": dict(counts), "total": {k: v + 100 for k, v in counts.items()}}
    optimizer = {"optimizer": {"step": {"current": {"completed": steps}}}}
    return {
        "loops": {
            "fit_loop": {
                "epoch_loop.batch_progress": progress,
                "epoch_loop.automatic_optimization.optim_progress": optimizer,
                "combined_loader": [{"epoch": 2, "batches": batches}],
            }
        }
    }


@pytest.mark.parametrize(
    ("processed", "steps", "batches", "wanted"),
    [
        (8, 2, 8, {"epoch": 2, "batches": 8}),  # a whole step: left alone
        (10, 2, 11, {"epoch": 2, "batches": 8}),  # two micro-batches into the third step
        (11, 3, 12, {"epoch": 2, "batches": 12}),  # stepped, not yet counted
        (19, 5, 20, {"epoch": 3, "batches": 0}),  # the same at the end of the epoch
    ],
)
def test_align_to_step(processed, steps, batches, wanted):
    ours = checkpoint(processed, steps, batches)
    align_to_step(ours, accumulate=4, batches_per_epoch=20)
    fit = ours["loops"]["fit_loop"]
    assert fit["combined_loader"] == [wanted]
    assert set(fit["epoch_loop.batch_progress"]["current"].values()) == {steps * 4}
    assert set(fit["epoch_loop.batch_progress"]["total"].values()) == {steps * 4 + 100}
