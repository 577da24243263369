"""Tokens per second: labelled, real and padded apart."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from nt_lightning.data.batch import IGNORE_INDEX, PackedBatch
from nt_lightning.data.loader import data_ranks


class Throughput(Callback):
    """Logs ``perf/labelled_tokens_per_s``, ``perf/tokens_per_s`` and ``perf/padded_tokens_per_s``.

    Labelled tokens are trained on; real tokens belong to a trace; padded ones are every position
    that went through the model, the fillers of an uneven step included. Summed over ranks. Time
    spent outside training steps (evaluation, saving) is not counted.
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(3, dtype=torch.float64)
        self._seconds = 0.0
        self._started: float | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: PackedBatch, batch_idx: int
    ) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PackedBatch,
        batch_idx: int,
    ) -> None:
        """Count a micro-batch; log after the steps that the trainer logs."""
        assert self._started is not None
        self._seconds += time.perf_counter() - self._started
        padded = batch.input_ids.numel()
        real = padded if len(batch.rows) else 0
        labelled = (batch.labels != IGNORE_INDEX).sum()  # stays on the device until it is logged
        self._counts = self._counts.to(labelled.device)
        self._counts += torch.stack([labelled, *labelled.new_tensor([real, padded])])
        end_of_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not end_of_step or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        counts = trainer.strategy.reduce(self._counts.float(), reduce_op="sum")
        counts = counts * data_ranks(trainer).number / trainer.world_size
        names = ("labelled_tokens_per_s", "tokens_per_s", "padded_tokens_per_s")
        for name, value in zip(names, counts / self._seconds, strict=True):
            shown = name == "tokens_per_s"
            pl_module.log(f"perf/{name}", value, prog_bar=shown, batch_size=1)
        self._counts.zero_()
        self._seconds = 0.0
