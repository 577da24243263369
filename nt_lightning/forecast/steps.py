"""Steps, tokens and time of a run, from the plan of its epochs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nt_lightning.data.plan import EpochPlan, Ints
from nt_lightning.forecast.flops import Floats, Work


class Limits(NamedTuple):
    """Where a trainer ends: epochs and optimizer steps, -1 for no end of that kind."""

    epochs: int
    steps: int
    batches: int | float = 1.0  # ``trainer.limit_train_batches``


class Run(NamedTuple):
    """A run in numbers; FLOPs are of all devices together."""

    traces: int
    tokens: int  # of an epoch
    labelled_tokens: int  # of an epoch
    longest: int
    bins: int
    bins_per_step: int
    fill: float
    micro_batches: int
    idle_share: float  # of micro-batches that are fillers
    steps_per_epoch: int
    steps: int
    epochs: float  # of the whole plan
    tokens_in_all: float
    model_flops: float
    recomputed_flops: float
    slowest_flops: float  # of the busiest device in every micro-batch, summed: what time follows


def run_of(
    plan: EpochPlan,
    lengths: Ints,
    labels: Ints,
    work: Work,
    *,
    world_size: int,
    checkpointing: int,
    limits: Limits,
) -> Run:
    """The numbers of a run.

    All epochs have the plan of the first: the others shuffle it. Devices wait for each other in
    every micro-batch (under DDP only at the end of a step: then this is a bound from above), and a
    filler takes no time.

    Args:
        plan: The first epoch's.
        lengths: Tokens of each trace, [N].
        labels: Labelled tokens of each trace, [N].
        work: The student's FLOPs.
        world_size: Devices.
        checkpointing: Every n-th layer is recomputed; 0: none.
        limits: Where the trainer ends.
    """
    flops = work.model_flops(lengths, labels)
    per_epoch = _steps_per_epoch(plan, world_size, limits)
    slowest = slowest_of_steps(plan, flops, world_size)[:per_epoch]
    steps = _num_steps(per_epoch, limits)
    epochs = steps / plan.num_steps
    whole, rest = divmod(steps, per_epoch)
    return Run(
        len(lengths),
        plan.tokens,
        int(labels.sum()),
        int(lengths.max()),
        plan.num_bins,
        plan.bins_per_step,
        plan.fill,
        plan.micro_batches(world_size),
        plan.idle_share(world_size),
        per_epoch,
        steps,
        epochs,
        epochs * plan.tokens,
        epochs * float(flops.sum()),
        epochs * float(work.recomputed(lengths, checkpointing).sum()),
        float(whole * slowest.sum() + slowest[:rest].sum()),
    )


def slowest_of_steps(plan: EpochPlan, flops: Floats, world_size: int) -> Floats:
    """For each step, [steps], the sum over its micro-batches of the largest row's FLOPs.

    Args:
        plan: An epoch.
        flops: Of each trace, [N].
        world_size: Devices: so many rows of a step are computed at one time.
    """
    per_bin = np.add.reduceat(flops[plan.order], plan.bin_starts[:-1])
    size = plan.micro_batches(world_size) * world_size
    slots = np.zeros((plan.num_steps, size))
    bins = np.arange(plan.num_bins)
    slots[bins // plan.bins_per_step, bins % plan.bins_per_step] = per_bin
    return slots.reshape(plan.num_steps, -1, world_size).max(axis=2).sum(axis=1)


def _steps_per_epoch(plan: EpochPlan, world_size: int, limits: Limits) -> int:
    """As ``TraceDataModule.steps_per_epoch``, for devices that are not at hand."""
    limit, each = limits.batches, plan.micro_batches(world_size)
    if isinstance(limit, float):
        limit = int(limit * plan.num_steps * each)
    return max(1, min(plan.num_steps, limit // each))


def _num_steps(per_epoch: int, limits: Limits) -> int:
    steps = per_epoch * limits.epochs if limits.epochs >= 0 else limits.steps
    return min(steps, limits.steps) if limits.steps >= 0 else steps
