"""The loader that resumes at any micro-batch: its state is an epoch and a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Sampler

from nt_lightning.data.batch import MicroBatch, PackedBatch, PackedTraces
from nt_lightning.data.plan import EpochPlan


class DataRank(NamedTuple):
    """A process's place among those that read other rows than it, and their number."""

    rank: int
    number: int


def data_ranks(trainer: Trainer) -> DataRank:
    """Where a trainer's process reads; tensor-parallel devices read the same rows."""
    given = trainer.distributed_sampler_kwargs
    if given is None:
        return DataRank(trainer.global_rank, trainer.world_size)
    return DataRank(given["rank"], given["num_replicas"])


class PlanSampler(Sampler[MicroBatch]):
    """One rank's micro-batches of an epoch, in order, fillers included.

    Every rank gets the same number, K in each step: forward calls agree on all ranks.

    Args:
        make_plan: The plan of an epoch, by number.
        rank: This data-parallel rank.
        world_size: Data-parallel ranks.
        max_steps: Optimizer steps after which an epoch ends; ``None``: those of the plan.
    """

    def __init__(
        self,
        make_plan: Callable[[int], EpochPlan],
        rank: int,
        world_size: int,
        max_steps: int | None = None,
    ) -> None:
        self.make_plan, self.rank, self.world_size = make_plan, rank, world_size
        self.max_steps = max_steps
        self.epoch = 0
        self.start = 0
        self._plan: tuple[int, EpochPlan] | None = None

    @property
    def plan(self) -> EpochPlan:
        """The plan of the current epoch."""
        if self._plan is None or self._plan[0] != self.epoch:
            self._plan = (self.epoch, self.make_plan(self.epoch))
        return self._plan[1]

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        steps = self.plan.num_steps
        steps = steps if self.max_steps is None else min(steps, self.max_steps)
        return steps * self.plan.micro_batches(self.world_size)

    def __iter__(self) -> Iterator[MicroBatch]:
        start, self.start = self.start, 0
        plan, per_step = self.plan, self.plan.micro_batches(self.world_size)
        for index in range(start, len(self)):
            step, micro = divmod(index, per_step)
            yield MicroBatch(plan, step, plan.bin_at(step, micro * self.world_size + self.rank))


class ResumableLoader(DataLoader[PackedBatch]):
    """A DataLoader whose place can be saved; Lightning stores it in every checkpoint.

    Args:
        traces: The packed traces.
        sampler: One rank's micro-batches.
        num_workers: Processes that pack ahead; 0 packs in the training process.
        pin_memory: Whether batches are put into pinned memory for a GPU.
    """

    def __init__(
        self, traces: PackedTraces, sampler: PlanSampler, num_workers: int, pin_memory: bool
    ) -> None:
        super().__init__(
            traces,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # creating an iterator must not draw from the global one
        )
        self.plan_sampler = sampler
        self._done = self._skip = 0

    def __iter__(self) -> Iterator[PackedBatch]:  # type: ignore[override]
        """A generator: nothing is fetched before ``set_epoch`` and ``load_state_dict``."""
        batches = super().__iter__()
        self._done, self._skip = self._skip, 0
        for batch in batches:
            self._done += 1
            yield batch
        self._done = 0

    def state_dict(self) -> dict[str, Any]:
        """Epoch and micro-batches handed out; at the end of an epoch, the start of the next."""
        if self._done >= len(self.plan_sampler):
            return {"epoch": self.plan_sampler.epoch + 1, "batches": 0}
        return {"epoch": self.plan_sampler.epoch, "batches": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the last micro-batch that was handed out; the epoch is planned here."""
        self.plan_sampler.set_epoch(state["epoch"])
        _ = self.plan_sampler.plan  # made now, not while the first batch is waited for
        self.plan_sampler.start = self._skip = state["batches"]
