"""Gradients of a step: over micro-batches and over ranks, which are played one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.loader import PlanSampler
from nt_lightning.data.plan import FILLER, EpochPlan, Ints
from nt_lightning.doctor.finding import Finding, tolerance
from nt_lightning.doctor.room import need_memory
from nt_lightning.doctor.subject import Subject

WORLDS = (1, 2, 4)
FLOOR = 1e-3  # of the largest tensor's gradient: smaller ones are rounding, our choice
Gradients = dict[str, Tensor]


@dataclass(eq=False)
class _Rank:
    """What a training step asks of its trainer."""

    accumulate_grad_batches: int
    world_size: int
    datamodule: TraceDataModule

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """Every rank reads rows of its own."""
        return {"num_replicas": self.world_size, "rank": 0}


def accumulation_changes_nothing(subject: Subject) -> Finding:
    """Gradients of a step in K micro-batches against those of its mean loss in one backward pass.

    Largest relative difference of a tensor. Allowed: ``tolerance``.
    """
    _need_room(subject)
    module, plan = subject.module, subject.plan
    bins = list(range(plan.num_bins))
    with _gradients(subject) as wanted, subject.precision():
        losses = [module.loss_sum(batch).total for batch in subject.batches(bins)]
        (torch.stack(losses).sum() / int(plan.labels_per_step[0])).backward()
    split = step_gradients(subject, 1)
    detail = f"{len(bins)} micro-batches against one backward pass, {plan.tokens} tokens"
    return Finding(_largest_gap(split, wanted), tolerance(subject.compute_dtype), detail)


def world_size_changes_nothing(subject: Subject) -> Finding:
    """Traces of every step, and the sum of a step's gradients, on 1, 2 and 4 ranks.

    The number of steps whose traces differ from the plan's, over a whole epoch; where none does,
    the largest relative difference of a tensor's gradient. Allowed: ``tolerance``.
    """
    plan = subject.data.plan(0)
    different = sum(other_steps(subject.data, world_size) for world_size in WORLDS)
    if different:
        detail = f"steps with other traces on {WORLDS} ranks, of {plan.num_steps} steps"
        return Finding(different, 0, detail)
    _need_room(subject)
    one = step_gradients(subject, 1)
    gaps = [_largest_gap(step_gradients(subject, size), one) for size in WORLDS[1:]]
    detail = f"ranks 1, 2, 4: traces of {plan.num_steps} steps, gradients of one"
    return Finding(max(gaps), tolerance(subject.compute_dtype), detail)


def other_steps(data: TraceDataModule, world_size: int) -> int:
    """Steps of an epoch in which all ranks together do not have the plan's traces, each once."""
    plan = data.plan(0)
    bins: list[list[int]] = [[] for _ in range(plan.num_steps)]
    for rank in range(world_size):
        for micro in PlanSampler(data.plan, rank, world_size):
            bins[micro.step].append(micro.bin_index)
    return sum(
        not np.array_equal(np.sort(plan.step_rows(step)), _rows_of_bins(plan, found))
        for step, found in enumerate(bins)
    )


def step_gradients(subject: Subject, world_size: int) -> Gradients:
    """Gradients of the sample's step as this many ranks have them when they have been averaged."""
    module = subject.module
    samplers = [PlanSampler(lambda _: subject.plan, rank, world_size) for rank in range(world_size)]
    trainer, per_rank = module.trainer, len(samplers[0])
    with _gradients(subject) as total:
        module.trainer = _Rank(per_rank, world_size, subject.data)  # type: ignore[assignment]
        try:
            module.setup("doctor")
            module.to(subject.device)  # the meter of the loss is new
            for sampler in samplers:
                bins = [micro.bin_index for micro in sampler]
                for index, batch in enumerate(subject.batches(bins)):
                    with subject.precision():
                        loss = module.training_step(batch, index)
                    # as Lightning divides by the accumulation, and DDP by the ranks
                    (loss / (per_rank * world_size)).backward()
        finally:
            module.trainer = trainer
    return total


@contextmanager
def _gradients(subject: Subject) -> Iterator[Gradients]:
    """Yield a dict that holds, behind the block, the gradients that were made in it."""
    found: Gradients = {}
    subject.module.zero_grad(set_to_none=True)
    yield found
    for name, parameter in subject.module.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad
    subject.module.zero_grad(set_to_none=True)


def _largest_gap(ours: Gradients, theirs: Gradients) -> float:
    """Largest relative difference of a tensor; infinite where others have a gradient."""
    if ours.keys() != theirs.keys():
        return float("inf")
    norms = {name: float(value.norm()) for name, value in theirs.items()}
    floor = FLOOR * max(norms.values())
    return max(
        float((ours[name] - value).norm()) / max(norms[name], floor)
        for name, value in theirs.items()
    )


def _rows_of_bins(plan: EpochPlan, bins: list[int]) -> Ints:
    rows = [plan.rows(number) for number in bins if number != FILLER]
    return np.sort(np.concatenate([*rows, np.zeros(0, dtype=np.int64)]))


def _need_room(subject: Subject) -> None:
    trained = [p for p in subject.module.parameters() if p.requires_grad]
    size = sum(p.numel() * p.element_size() for p in trained)
    need_memory(3 * size, subject.device, "two sets of gradients, and one that is summed,")
