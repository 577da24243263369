"""A small training run whose division into micro-batches is set by hand, of one process or more."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.distributed.tensor import DTensor

import nt_lightning.student.module as module
from nt_lightning.data.plan import EpochPlan
from nt_lightning.data.selections import RandomSelection
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from nt_lightning.student.strategies import FSDP2Strategy

TRACES_PER_STEP = 8
DEVICES = {"auto": 1, "ddp": 2, "fsdp2": 2, "1x2": 2, "2x2": 4}  # data x tensor parallel
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "checkpointing": {"activation_checkpointing": True},
    "every second layer": {"activation_checkpointing": 2},
    "lora": {"lora": LoRA(r=4)},
    "lora with dropout": {"lora": LoRA(r=4, lora_dropout=0.1)},
    "qlora": {"lora": LoRA(r=4), "quantization": "4bit"},
}


def strategy_of(name: str) -> Any:
    """What a Trainer takes for a key of ``DEVICES``."""
    return FSDP2Strategy(tensor_parallel_size=2) if "x" in name else name


class FixedPlan(RandomSelection):
    """The same traces in every step, however they are divided into bins."""

    def __init__(self, *args: Any, traces_per_bin: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.traces_per_bin = traces_per_bin

    def _plan(self, split: str, epoch: int) -> EpochPlan:
        arrow = self.traces(split).data.table
        lengths = arrow["num_tokens"].to_numpy().astype(np.int64)
        labels = lengths - arrow["num_prompt"].to_numpy()
        order = np.random.default_rng(epoch).permutation(len(lengths))
        edges = [
            step + part
            for step in range(0, len(order), TRACES_PER_STEP)
            for part in range(0, TRACES_PER_STEP, self.traces_per_bin)
            if step + part < len(order)
        ]
        per_step = np.add.reduceat(labels[order], np.arange(0, len(order), TRACES_PER_STEP))
        starts = np.array([*edges, len(order)])
        per_bin = TRACES_PER_STEP // self.traces_per_bin
        return EpochPlan(order, starts, per_bin, per_step, int(lengths.sum()), 4096)


class FirstGradients(Callback):
    """Keeps the gradients of the first step as the optimizer sees them."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == 0:
            named = pl_module.named_parameters()
            self.kept = {name: whole(p.grad).clone() for name, p in named if p.grad is not None}


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor that may be shared out over ranks; all of them call it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def assert_replicas_agree(student_module: MaskedSFT) -> None:
    """Devices that compute a row together have the same of what they all have."""
    group = student_module.device_mesh["tensor_parallel"].get_group()
    for name, parameter in student_module.named_parameters():
        if parameter.placements[-1].is_replicate():
            ends = [parameter.detach().to_local().clone() for _ in range(2)]
            torch.distributed.all_reduce(ends[0], torch.distributed.ReduceOp.MIN, group)
            torch.distributed.all_reduce(ends[1], torch.distributed.ReduceOp.MAX, group)
            assert torch.equal(*ends), name


def train(
    student: str,
    pool: str,
    *,
    traces_per_bin: int,
    strategy: str = "auto",
    variant: str = "full",
    **options: Any,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gradients of the first step, weights after two epochs of ten steps and an uneven one."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    data = FixedPlan(pool, student, num_val=4, traces_per_bin=traces_per_bin)
    student_module = MaskedSFT(
        student,
        optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, fused=True),
        **VARIANTS[variant],
    )
    seed_everything(1, verbose=False)  # adapters begin at random
    keep = FirstGradients()
    trainer = Trainer(
        accelerator="cpu",
        devices=DEVICES[strategy],
        strategy=strategy_of(strategy),
        max_epochs=2,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        callbacks=[keep],
        **options,
    )
    trainer.fit(student_module, data)
    assert trainer.global_step == 22
    if "x" in strategy:
        assert_replicas_agree(student_module)
    named = student_module.named_parameters()
    weights = {name: whole(p.detach()).clone() for name, p in named if p.requires_grad}
    return keep.kept, weights


def forbid_a_copy() -> None:
    """Fail where this rank reads the student's weights."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the first rank alone holds a whole copy")

    module.load_student = refuse


def on_one_rank(
    student: str, pool: str, out: Path, traces_per_bin: int, strategy: str, variant: str
) -> int:
    """Train as one of several processes; the first one writes what comes out."""
    first = os.environ["LOCAL_RANK"] == "0"
    if strategy != "ddp" and variant != "qlora" and not first:
        forbid_a_copy()
    result = train(student, pool, traces_per_bin=traces_per_bin, strategy=strategy, variant=variant)
    if first:
        torch.save(result, out)
    return 0
