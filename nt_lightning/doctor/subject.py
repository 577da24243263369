"""What ``doctor`` examines: the student, the data, and a few of their traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from nt_lightning.data.batch import MicroBatch, PackedBatch, PackedTraces
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.plan import EpochPlan, Ints
from nt_lightning.errors import UserError
from nt_lightning.student.sft import MaskedSFT

NUM_TRACES = 4
NUM_BINS = 3  # an odd number: on two ranks and on four there is a filler
TOKENS = {"cpu": 384}  # our choice: seconds a check
TOKENS_ON_GPU = 16_384


@dataclass(frozen=True)
class Subject:
    """A loaded student, data that are set up, and a step of a few traces.

    Args:
        module: In eval mode (no dropout), on its device.
        data: Set up; ``plan`` and ``traces`` answer.
        precision: Context of a forward pass of this run.
        sample: The few traces, a part of the training set.
    """

    module: MaskedSFT
    data: TraceDataModule
    precision: Callable[[], AbstractContextManager[Any]]
    sample: datasets.Dataset

    @property
    def plan(self) -> EpochPlan:
        """One step of the sample's traces, in ``NUM_BINS`` bins; fewer where traces are fewer."""
        rows = list(range(len(self.sample)))
        bins = [rows[number::NUM_BINS] for number in range(NUM_BINS)]
        return self.plan_of([found for found in bins if found])

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return self.module.device

    @property
    def compute_dtype(self) -> torch.dtype:
        """What the student computes in."""
        with self.precision():
            kind = self.device.type
            return (
                torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
            )

    def batches(self, bins: list[int], plan: EpochPlan | None = None) -> Iterator[PackedBatch]:
        """Packed rows of the sample's bins, on the student's device.

        Args:
            bins: Numbers of bins, or ``FILLER``.
            plan: Another plan of the sample than its own.
        """
        traces = PackedTraces(self.sample, self.data.teacher_names)
        for number in bins:
            batch = traces[MicroBatch(plan or self.plan, 0, number)]
            yield move_data_to_device(batch, self.device)

    def plan_of(self, bins: list[list[int]]) -> EpochPlan:
        """One step of the sample's traces, in bins that are given."""
        order = np.array([row for rows in bins for row in rows], dtype=np.int64)
        starts = np.cumsum([0, *map(len, bins)])
        lengths, labels = _lengths(self.sample)
        total = labels[order].sum()[None]
        tokens = int(lengths[order].sum())
        return EpochPlan(order, starts, len(bins), total, tokens, tokens)


def examine(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> Subject:
    """Prepare the data, load the student and draw the traces.

    Adapters get small random values: fresh ones are zero and would hide each other's mistakes.

    Raises:
        UserError: The recipe trains by another module, or on no traces.
    """
    if not isinstance(module, MaskedSFT) or not isinstance(data, TraceDataModule):
        raise UserError(
            f"doctor examines MaskedSFT on a selection of traces, not {type(module).__name__} on "
            f"{type(data).__name__}"
        )
    data.prepare_data()
    data.setup("doctor")
    traces = data.traces("train")
    module.to(trainer.strategy.root_device)
    module.trainer = trainer
    module.configure_model()
    module.to(trainer.strategy.root_device).eval()
    fill_adapters(module)
    budget = TOKENS.get(module.device.type, TOKENS_ON_GPU)
    sample = traces.select(sample_rows(_lengths(traces)[0], budget))
    context = trainer.precision_plugin.forward_context
    return Subject(module, data, context, sample)


def sample_rows(lengths: Ints, budget: int) -> Ints:
    """Rows of traces from the shortest to the longest that let ``NUM_TRACES`` fit into a budget.

    Args:
        lengths: Tokens of every trace, [N].
        budget: Tokens of all of them; more only where even the shortest traces have more.
    """
    by_length = np.argsort(lengths, kind="stable")
    fitting = int((lengths <= budget // NUM_TRACES).sum())
    last = max(fitting, min(NUM_TRACES, len(lengths))) - 1
    return by_length[np.unique(np.linspace(0, last, NUM_TRACES).round().astype(int))]


@torch.no_grad()
def fill_adapters(module: LightningModule) -> None:
    """Give LoRA's second factors small values; without adapters there is nothing to do."""
    for name, parameter in module.named_parameters():
        if "lora_B" in name and parameter.requires_grad:
            draw = torch.Generator().manual_seed(0)
            values = torch.randn(parameter.shape, generator=draw) * 0.01
            parameter.copy_(values.to(parameter))


def _lengths(traces: datasets.Dataset) -> tuple[Ints, Ints]:
    """Tokens and labelled tokens of each trace."""
    columns = traces.select_columns(["num_tokens", "num_prompt"]).with_format("numpy")[:]
    lengths = columns["num_tokens"].astype(np.int64)
    return lengths, lengths - columns["num_prompt"]
