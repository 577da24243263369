"""A callback for tests of long runs: writes down each step, and stops the run in several ways."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback


class Recorder(Callback):
    """Appends the trace ids of each optimizer step to ``steps-<rank>.jsonl``.

    Args:
        folder: Where these files and, at the end, ``weights.pt`` go.
        kill_at: Step before whose update the process kills itself with SIGKILL.
        interrupt_at: Step in whose first micro-batch the process gets a signal.
        interrupt_with: The signal.
        poison_at: Step before which a weight becomes NaN.
    """

    def __init__(
        self,
        folder: str,
        kill_at: int | None = None,
        interrupt_at: int | None = None,
        poison_at: int | None = None,
        interrupt_with: str = "SIGINT",
    ) -> None:
        self.folder = Path(folder)
        self.kill_at, self.interrupt_at, self.poison_at = kill_at, interrupt_at, poison_at
        self.signal = signal.Signals[interrupt_with]
        self.rows: list[int] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.log = self.folder / f"steps-{trainer.global_rank}.jsonl"

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.rows += batch.rows.tolist()
        if trainer.global_step + 1 == self.poison_at:
            next(pl_module.parameters()).data[0] = float("nan")

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step + 1 == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        micro_batches = trainer.accumulate_grad_batches
        if batch_idx % micro_batches == 0 and trainer.global_step + 1 == self.interrupt_at:
            os.kill(os.getpid(), self.signal)
        if (batch_idx + 1) % micro_batches:
            return
        ids = trainer.datamodule.trace_ids(self.rows)
        with self.log.open("a") as log:
            log.write(json.dumps([trainer.global_step, ids]) + "\n")
        self.rows = []

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        torch.save(pl_module.state_dict(), self.folder / "weights.pt")
