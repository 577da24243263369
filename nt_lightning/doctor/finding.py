"""What a check of ``doctor`` finds, and how near is near enough."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EXACT = 1e-5
ROUNDED = 5e-2


class Finding(NamedTuple):
    """A check's number, the largest that passes, and what was compared.

    The number is a relative difference, or a count of what is wrong.
    """

    value: float
    allowed: float
    detail: str

    @property
    def passed(self) -> bool:
        """Whether the number is small enough; NaN is not."""
        return self.value <= self.allowed


class NotChecked(Exception):
    """A check that this machine has no room for; the message says what it would take."""


def tolerance(dtype: torch.dtype) -> float:
    """Largest relative difference of two ways to compute the same thing.

    1e-5 in float32, whose rounding is 6e-8 an operation. 5e-2 in bfloat16: its rounding is 4e-3,
    and dozens of layers round the same sums in another order; a token that sees another trace, or
    a factor that is wrong, differs by far more (our choice).

    Args:
        dtype: What the student computes in.
    """
    return EXACT if dtype == torch.float32 else ROUNDED


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of ``theirs``; zero where both are zero."""
    gap = (ours.detach().double() - theirs.detach().double()).norm()
    return float(gap / theirs.detach().double().norm()) if gap else 0.0
