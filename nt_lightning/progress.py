"""Lightning's progress bar with our names, and log lines where nobody sees a bar."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console

log = logging.getLogger(__name__)

LOG_EVERY_S = 30.0
SHORT_NAMES = {"train/loss": "loss", "perf/tokens_per_s": "tok/s"}


class RunProgressBar(RichProgressBar):
    """A bar on a terminal; a line every half minute in a file or a job's log."""

    def __init__(self) -> None:
        super().__init__()
        self._logged = 0.0

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Loss and speed under short names; the run's folder is printed elsewhere."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {SHORT_NAMES.get(name, name): value for name, value in metrics.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        super().on_train_start(trainer, pl_module)
        self._logged = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar, or log."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if get_console().is_terminal or time.monotonic() - self._logged < LOG_EVERY_S:
            return
        self._logged = time.monotonic()
        if trainer.is_global_zero:
            log.info("%s", self.line(trainer, pl_module))

    def line(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """Step, steps in all, and the bar's metrics."""
        steps = trainer.datamodule.num_steps  # type: ignore[attr-defined]
        metrics = self.get_metrics(trainer, pl_module)
        shown = [
            f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float)
        ]
        return ", ".join([f"step {trainer.global_step} of {steps}", *shown])
