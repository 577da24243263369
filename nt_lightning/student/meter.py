"""Losses gathered by mode and by teacher, over micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from nt_lightning.data.batch import PackedBatch
from nt_lightning.student.loss import LossSum
from nt_lightning.traces.modes import MODE_NAMES


class GroupedLoss(Metric):
    """Mean loss per labelled token, in all, per think mode and per teacher.

    Args:
        teachers: Names in the order of ``PackedBatch.teachers``.
        copies: How many ranks count each row.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, teachers: Sequence[str], copies: int = 1) -> None:
        super().__init__()
        self.copies = copies
        self.names = [*MODE_NAMES, *(f"teacher/{name}" for name in teachers)]
        zeros = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("total", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(self, batch: PackedBatch, loss: LossSum) -> None:
        """Add one micro-batch."""
        segment = torch.searchsorted(batch.cu_seqlens, loss.positions, right=True) - 1
        values = loss.per_label.double()
        for groups in (batch.modes[segment], batch.teachers[segment] + len(MODE_NAMES)):
            self.total.index_add_(0, groups, values)
            self.count.index_add_(0, groups, torch.ones_like(values))

    def compute(self) -> dict[str, Tensor]:
        """``loss`` and ``loss/<group>`` of the groups that occurred, and ``num_labels``."""
        modes = slice(0, len(MODE_NAMES))
        count = self.count[modes].sum()
        mean = self.total[modes].sum() / count.clamp_min(1)
        values = {"loss": mean, "num_labels": count / self.copies}
        for index, name in enumerate(self.names):
            if self.count[index] > 0:
                values[f"loss/{name}"] = self.total[index] / self.count[index]
        return {name: value.float() for name, value in values.items()}
