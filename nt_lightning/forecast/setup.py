"""What a forecast of memory depends on, as values that can be changed one by one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, StrategyRegistry

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.plan import EpochPlan, Ints
from nt_lightning.errors import UserError
from nt_lightning.student.loading import LoRA, Quantization
from nt_lightning.student.sft import MaskedSFT
from nt_lightning.student.strategies import FSDP2Strategy

Strategy = Literal["one device", "ddp", "fsdp2"]
PROBE = 256  # side of the matrix on which an optimizer shows its states


@dataclass(frozen=True)
class Setup:
    """A student, its training, and the fullest row that it will see.

    Args:
        model_name: The student; its ``config.json`` is read.
        lora: Adapters in place of all weights.
        quantization: Of the frozen base.
        checkpointing: Recompute every n-th layer; 0 keeps all activations.
        strategy: How devices share the work.
        world_size: Devices in all.
        dtype: What is computed in.
        on_gpu: On GPUs attention runs in a kernel that keeps no scores.
        lengths: Tokens of each trace of the fullest row.
        labels: Labelled tokens of that row.
        bins_per_step: Rows of an optimizer step, over all devices.
        state_bytes: Of the optimizer, for each trained weight.
    """

    model_name: str
    lora: LoRA | None
    quantization: Quantization | None
    checkpointing: int
    strategy: Strategy
    world_size: int
    dtype: torch.dtype
    on_gpu: bool
    lengths: tuple[int, ...]
    labels: int
    bins_per_step: int
    state_bytes: float

    @property
    def tokens(self) -> int:
        """Tokens of the fullest row."""
        return sum(self.lengths)

    @property
    def micro_batches(self) -> int:
        """Rows of one device in a step."""
        return -(-self.bins_per_step // self.world_size)

    @property
    def shards(self) -> int:
        """Devices that a weight is shared out over."""
        return self.world_size if self.strategy == "fsdp2" else 1


def setup_of(
    student: Any,
    data: TraceDataModule,
    *,
    strategy: Any,
    world_size: int,
    precision: str,
    on_gpu: bool,
) -> Setup:
    """The setup of a run whose data module is set up; the student is not loaded.

    Args:
        student: ``MaskedSFT``.
        data: Its traces.
        strategy: The trainer's strategy, or its name.
        world_size: Devices in all.
        precision: The trainer's.
        on_gpu: Whether the devices are GPUs.

    Raises:
        UserError: A module, a strategy or a precision that does not train.
    """
    if not isinstance(student, MaskedSFT):
        raise UserError(f"model is {type(student).__name__}; allowed: MaskedSFT, which trains")
    if precision not in ("bf16-mixed", "32-true", "32"):
        raise UserError(f"trainer.precision is {precision!r}; allowed: bf16-mixed, 32-true")
    plan = data.plan(0)
    lengths, labels = lengths_of(data)
    row = fullest_row(plan, lengths)
    return Setup(
        student.model_name,
        student.lora,
        student.quantization,
        int(student.activation_checkpointing),
        strategy_name(strategy, world_size),
        world_size,
        torch.bfloat16 if precision == "bf16-mixed" else torch.float32,
        on_gpu,
        tuple(lengths[row].tolist()),
        int(labels[row].sum()),
        min(plan.bins_per_step, plan.num_bins),
        state_bytes(student.optimizer),
    )


def lengths_of(data: TraceDataModule) -> tuple[Ints, Ints]:
    """Tokens and labelled tokens of every training trace, [N] each."""
    table = data.traces("train").data.table
    lengths = table["num_tokens"].to_numpy().astype(np.int64)
    return lengths, lengths - table["num_prompt"].to_numpy().astype(np.int64)


def fullest_row(plan: EpochPlan, lengths: Ints) -> Ints:
    """Trace rows of the bin with the most tokens."""
    per_bin = np.add.reduceat(lengths[plan.order], plan.bin_starts[:-1])
    return plan.rows(int(per_bin.argmax()))


def strategy_name(strategy: Any, world_size: int) -> Strategy:
    """What a strategy does with weights.

    Args:
        strategy: A strategy, or its name.
        world_size: Devices in all.

    Raises:
        UserError: One that a student does not train under.
    """
    if isinstance(strategy, FSDP2Strategy) and strategy.tensor_parallel_size > 1:
        raise UserError(
            f"trainer.strategy.tensor_parallel_size is {strategy.tensor_parallel_size}; a forecast "
            "knows 1 alone"
        )
    if strategy in ("fsdp2", "fsdp") or isinstance(strategy, FSDP2Strategy):
        return "fsdp2"
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    known = isinstance(strategy, DDPStrategy | SingleDeviceStrategy)
    is_ddp = name.startswith("ddp") and name in StrategyRegistry
    if not (known or name == "auto" or is_ddp):
        raise UserError(f"trainer.strategy is {name!r}; allowed: auto, ddp or fsdp2")
    return "ddp" if world_size > 1 else "one device"


def state_bytes(optimizer: Any) -> float:
    """Bytes of an optimizer's states for each weight, seen on one step of a small matrix.

    Args:
        optimizer: Makes the optimizer of parameters.

    Raises:
        UserError: It cannot take that step on the CPU.
    """
    weight = torch.nn.Parameter(torch.zeros(PROBE, PROBE))
    weight.grad = torch.ones_like(weight)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = optimizer([weight])
            made.step()
    except (RuntimeError, ValueError, NotImplementedError, AssertionError) as error:
        raise UserError(f"model.optimizer cannot be tried on the CPU: {error}") from None
    states = _tensors(made.state[weight].values())
    return sum(x.numel() * x.element_size() for x in states if x.numel() > 1) / weight.numel()


def _tensors(values: Any) -> Sequence[torch.Tensor]:
    return [value for value in values if isinstance(value, torch.Tensor)]
