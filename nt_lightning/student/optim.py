"""The default optimizer."""

from __future__ import annotations

from typing import Any

import torch


class PaperAdamW(torch.optim.AdamW):
    """Fused AdamW with NaturalThoughts' learning rate and weight decay.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate; the paper's is 2e-5.
        betas: Decay of the two moments; our choice, the paper does not say.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay; the paper's is 0.1.

    Source: NaturalThoughts (arXiv:2507.01921), section 3.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2e-5,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, fused=True)
