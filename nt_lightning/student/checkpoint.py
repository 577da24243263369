"""Checkpoints that are either whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Streams a checkpoint to a file beside its place, flushes it and renames it.

    Lightning's own copies the whole checkpoint in memory first, and returns silently when the
    folder cannot be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint.

        Raises:
            UserError: It could not be written; an older file at ``path`` is as it was.
        """
        try:
            with replacing_file(Path(path)) as partial:
                torch.save(checkpoint, partial)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"the checkpoint {path} could not be written: {error}; older checkpoints are intact"
            ) from error


def align_to_step(checkpoint: dict[str, Any], accumulate: int, batches_per_epoch: int) -> None:
    """Put a checkpoint's place at the last whole optimizer step.

    A checkpoint written when an exception or Ctrl+C breaks into a step has counted micro-batches
    whose gradients are lost; resumed as it is, the next step would lack them.

    Args:
        checkpoint: What Lightning is about to save; changed in place.
        accumulate: Micro-batches of one rank in one step.
        batches_per_epoch: Micro-batches of one rank in one epoch.
    """
    fit = checkpoint["loops"]["fit_loop"]
    progress = fit["epoch_loop.batch_progress"]
    optimizer = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    done = optimizer["step"]["current"]["completed"] * accumulate
    if progress["current"]["processed"] == done:
        return
    for field in ("ready", "started", "processed", "completed"):
        surplus = progress["current"][field] - done
        progress["current"][field] -= surplus
        progress["total"][field] -= surplus
    for loader in fit.get("combined_loader", []):
        if done >= batches_per_epoch:
            loader.update(epoch=loader["epoch"] + 1, batches=0)
        else:
            loader["batches"] = done
