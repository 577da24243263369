"""Random number generators in the checkpoint, so that a resumed run draws what it would have."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer


class RNGState(Callback):
    """Saves every rank's generators with a checkpoint and sets them before the first batch."""

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] | None = None
        self._at_step: dict[str, Any] | None = None  # when a step is under way: as it began

    def state_dict(self) -> dict[str, Any]:
        """The generators of all ranks, in rank order, as tensors and plain values.

        A checkpoint that breaks into a step resumes at its beginning, and so do they.
        """
        own = self._at_step or _capture()
        if not (dist.is_available() and dist.is_initialized()):
            return {"ranks": [own]}
        every: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(every, own)
        return {"ranks": every}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._loaded = state_dict["ranks"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set this rank's generators; on another number of ranks they start afresh."""
        if self._loaded is not None and len(self._loaded) == trainer.world_size:
            _restore(self._loaded[trainer.global_rank])
        self._loaded = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the generators at the first micro-batch of a step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._at_step = _capture()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A whole step: from here on the generators are as the next one begins."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._at_step = None


def _capture() -> dict[str, Any]:
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
