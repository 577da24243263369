"""A training run into which bad gradients are planted, of one process or two."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.distributed.tensor import DTensor

from nt_lightning.data.batch import PackedBatch
from nt_lightning.student.bad_steps import NonFiniteStep
from nt_lightning.student.guard import Guard
from nt_lightning.student.loss import LossSum
from nt_lightning.student.sft import MaskedSFT
from tests.integration.training import DEVICES, FixedPlan, strategy_of, whole

BAD_STEPS = (5, 9)  # of eleven; what two processes plant


class Planted(MaskedSFT):
    """The loss of one trace is multiplied, on the rank that has it.

    Args:
        factors: By number of the step; the trace is the third of the step.
    """

    def __init__(self, *args: Any, factors: Mapping[int, float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factors = factors

    def loss_sum(self, batch: PackedBatch) -> LossSum:
        loss = super().loss_sum(batch)
        number = self.global_step + 1
        if self.trainer.training and number in self.factors:
            row = self.trainer.datamodule.plan(self.current_epoch).step_rows(
                (number - 1) % self.trainer.datamodule.steps_per_epoch
            )[2]
            if row in batch.rows:
                loss = loss._replace(total=loss.total * self.factors[number])
        return loss


class PlantGradient(Callback):
    """One element of the second rank's gradients is Inf, behind the sum over ranks."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_rank != 1 or trainer.global_step + 1 not in BAD_STEPS:
            return
        for parameter in pl_module.parameters():
            gradient = parameter.grad
            if isinstance(gradient, DTensor):
                gradient = gradient.to_local()
            if gradient.numel():
                gradient.view(-1)[0] = float("inf")
                return


def fit(
    student: str,
    pool: str,
    folder: Path,
    *,
    factors: Mapping[int, float],
    guard: Guard,
    strategy: str = "auto",
    callbacks: Sequence[Callback] = (),
    optimizer: Any = None,
    max_epochs: int = 1,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[Planted, Trainer, NonFiniteStep | None]:
    """Eleven steps an epoch of eight traces each, the last one of five; in rows of two traces."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    data = FixedPlan(pool, student, num_val=4, traces_per_bin=2)
    module = Planted(
        student,
        optimizer or (lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, fused=True)),
        guard=guard,
        factors=factors,
        **options,
    )
    seed_everything(1, verbose=False)
    trainer = small_trainer(folder, strategy, callbacks, max_epochs)
    try:
        trainer.fit(module, data, ckpt_path=ckpt_path)
    except NonFiniteStep as end:
        return module, trainer, end
    return module, trainer, None


def small_trainer(
    folder: Path, strategy: str = "auto", callbacks: Sequence[Callback] = (), max_epochs: int = 1
) -> Trainer:
    """A quiet trainer on the CPU, with a strategy of ``DEVICES``."""
    return Trainer(
        accelerator="cpu",
        devices=DEVICES[strategy],
        strategy=strategy_of(strategy),
        max_epochs=max_epochs,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )


def on_one_rank(student: str, pool: str, out: Path, strategy: str, plant: str) -> int:
    """As one of two, skip the first of ``BAD_STEPS``, end at the second; write how it ended."""
    in_loss = plant == "nan in a loss"
    module, _, end = fit(
        student,
        pool,
        out,
        factors=dict.fromkeys(BAD_STEPS, float("nan")) if in_loss else {},
        guard=Guard(policy="skip", max_skipped=1),
        strategy=strategy,
        callbacks=[] if in_loss else [PlantGradient()],
    )
    weights = {name: whole(p.detach()).clone() for name, p in module.named_parameters()}
    told = end and {"step": end.step, "trace_ids": end.trace_ids, "message": str(end)}
    torch.save((weights, told), out / f"rank-{os.environ['LOCAL_RANK']}.pt")
    return 0
