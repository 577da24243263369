"""The default optimizer, whose word counts on resume, and how an update is held back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR


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


def hyper_parameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Learning rate, decay and so on of every group, without its parameters."""
    return [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]


def use_hyper_parameters(
    configured: list[dict[str, Any]], optimizer: torch.optim.Optimizer, scheduler: LambdaLR
) -> None:
    """Go on with a configuration's values in place of a checkpoint's, at the schedule's step.

    Args:
        configured: ``hyper_parameters`` before a checkpoint was read.
        optimizer: The one that they are of.
        scheduler: Its schedule; the factors are the configuration's anyway.
    """
    for group, values in zip(optimizer.param_groups, configured, strict=True):
        group.update(values)
    scheduler.base_lrs = [values["initial_lr"] for values in configured]
    places = zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    for group, base, factor in places:
        group["lr"] = base * factor(scheduler.last_epoch)


def hold_back(optimizer: torch.optim.Optimizer, refused: Tensor) -> None:
    """Let a step change no weight, no moment and no count where ``refused`` is 1.

    To be called between the backward pass and the update. Fused Adam reads the flag on the device
    (``found_inf``, torch's hook for loss scaling). Any other optimizer makes the host wait for the
    flag in every step, and finds no gradients: 8-bit optimizers and those that are not fused have
    no hook, and fused SGD, refused at its first step, would take fresh memory for its momentum
    (torch 2.13).

    Args:
        optimizer: The one that is about to step.
        refused: 0 or 1, a float32 scalar on the weights' device.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if fused and isinstance(optimizer, torch.optim.Adam):
        optimizer.found_inf = refused  # type: ignore[attr-defined]
    elif refused:
        optimizer.zero_grad()
