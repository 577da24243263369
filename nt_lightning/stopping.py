"""SIGTERM and Ctrl+C end a training behind a micro-batch, on all ranks behind the same one.

Lightning answers SIGTERM with a broadcast from within the signal's handler, which may meet another
rank in a collective of its step, and both wait for ever. And it raises KeyboardInterrupt wherever
Ctrl+C comes: within an update, the checkpoint would hold weights of no step. The form is our
choice.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer


class StopTogether(Callback):
    """Keeps a signal in mind until the ranks have agreed on it; a second Ctrl+C kills at once."""

    def __init__(self) -> None:
        self._heard = 0
        self._group: Any = None

    @property
    def by_ctrl_c(self) -> bool:
        """Whether Ctrl+C stopped the training."""
        return self._heard == signal.SIGINT

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handlers, which gives back what was there before."""
        if trainer.received_sigterm:  # until now Lightning's handlers heard for this rank alone
            self._heard = self._heard or signal.SIGTERM
        self._trainer, self._pid = trainer, os.getpid()
        if trainer.world_size > 1 and self._group is None:
            self._group = dist.new_group(backend="gloo")  # the device need not be waited for
            # Lightning's own question, before every micro-batch, waits for the device
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing_to_ask  # type: ignore[method-assign]
        signal.signal(signal.SIGTERM, self._hear)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a job in the background
            signal.signal(signal.SIGINT, self._hear_ctrl_c)

    on_train_start = on_sanity_check_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning end the training behind this micro-batch if any rank was told to stop."""
        self._agree()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """The same in a validation."""
        self._agree()

    def _agree(self) -> None:
        if self._group is not None:
            heard = torch.tensor(self._heard)
            dist.all_reduce(heard, op=dist.ReduceOp.MAX, group=self._group)
            if agreed := int(heard):  # a signal that came meanwhile is told the next time
                self._heard = agreed
                self._stop()

    def _stop(self) -> None:
        self._trainer._signal_connector.received_sigterm = True

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a loader's worker, which its parent ends
            return
        self._heard = self._heard or number
        if self._group is None:
            self._stop()

    def _hear_ctrl_c(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._heard = self._heard or number
        os.kill(os.getpid(), signal.SIGTERM)  # an evaluation listens for itself


def _nothing_to_ask() -> None:
    """The ranks have agreed behind the micro-batch before."""
