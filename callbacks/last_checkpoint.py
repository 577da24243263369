"""The checkpoint a run resumes from and its student is exported from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nt_lightning.student.bad_steps import NonFiniteStep
from nt_lightning.student.checkpoint_io import CheckpointNotWritten


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``: saved every n optimizer steps, and when training ends or is stopped.

    Lightning's own ``save_last`` leaves out the steps after the last multiple of n, so that the
    student of the final evaluation would be in no file. For checkpoints to choose from, add a
    ``ModelCheckpoint(monitor=...)`` beside it.

    Args:
        every_n_train_steps: Optimizer steps between two savings.
    """

    def __init__(self, every_n_train_steps: int = 50) -> None:
        super().__init__(
            every_n_train_steps=every_n_train_steps,
            save_last=True,
            save_top_k=0,
            save_on_exception=True,
        )
        self._is_restored = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing is restored yet, also where the callback has been in another run."""
        super().setup(trainer, pl_module, stage)
        self._is_restored = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on loops, weights and optimizers are of the same step."""
        super().on_train_start(trainer, pl_module)
        self._is_restored = True

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save where an exception or Ctrl+C stopped the training.

        Not weights that may be NaN, not what could not be saved a moment ago, and not a run that
        was stopped while it was resuming: Lightning restores the step before the optimizer. Several
        ranks save only where all of them stop: they would wait for one that an error has left
        alone.
        """
        failed = isinstance(exception, NonFiniteStep | CheckpointNotWritten)
        if failed or not self._is_restored:
            return
        together = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        if (together or trainer.world_size == 1) and self._should_save_on_exception(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every n steps and after the last one."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == trainer.datamodule.num_steps:  # type: ignore[attr-defined]
            self._save_once(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where training was told to stop."""
        self._save_once(trainer)

    def _save_once(self, trainer: Trainer) -> None:
        saved = self._last_global_step_saved == trainer.global_step
        if not saved and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
