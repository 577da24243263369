"""A callback for tests that stop runs: tells through a pipe where the training is."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from lightning.pytorch import Callback

EVALUATE_EVERY = 2
STOPPED = "stopped"  # what follows is the saving of a run that has heard a signal


class Place(NamedTuple):
    """Where a run is: a name, the step under way, its micro-batch and the ids of that."""

    name: str
    step: int
    micro_batch: int
    ids: list[str]


class Tells(Callback):
    """Writes every place that the training comes to into a pipe.

    Args:
        pipe: File descriptor.
    """

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def tell(self, trainer: Any, name: str, micro_batch: int = 0, ids: Any = ()) -> None:
        """Where the training is now."""
        place = Place(name, trainer.global_step + 1, micro_batch, ids)
        os.write(self.pipe, json.dumps(place).encode() + b"\n")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.tell(trainer, "anywhere")

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        micro_batches = trainer.accumulate_grad_batches
        micro_batch = batch_idx % micro_batches
        if batch_idx >= trainer.num_training_batches - micro_batches:
            name = "an epoch's last step"
        elif batch_idx < micro_batches and trainer.current_epoch:
            name = "an epoch's first step"
        else:
            name = "a later micro-batch" if micro_batch else "a step's first micro-batch"
        ids = trainer.datamodule.trace_ids(batch.rows.tolist())
        self.tell(trainer, name, micro_batch, ids)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and trainer.global_step % EVALUATE_EVERY == 0:
            self.tell(trainer, "evaluation")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.tell(trainer, "evaluation")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.tell(trainer, STOPPED)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.tell(trainer, "saving")
