"""The machine that a recipe is for, which need not be the one at hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from nt_lightning.errors import UserError


class Planned(NamedTuple):
    """What a recipe's trainer says of devices."""

    on_gpu: bool
    per_node: int
    num_nodes: int
    strategy: Any
    precision: str

    @property
    def world_size(self) -> int:
        """Devices in all."""
        return self.per_node * self.num_nodes


def planned_of(trainer: Any, gpu: str) -> Planned:
    """Read a trainer's arguments; no device is asked for and no process is started.

    Args:
        trainer: Its configuration: ``accelerator``, ``devices``, ``num_nodes``, ``strategy``,
            ``precision``.
        gpu: The GPU that is asked about; ``auto``: what ``accelerator`` says, or is at hand.

    Raises:
        UserError: ``devices`` is nothing that can be counted.
    """
    here = torch.cuda.device_count()
    accelerator = str(trainer.accelerator)
    on_gpu = gpu != "auto" or accelerator in ("gpu", "cuda") or (accelerator == "auto" and here > 0)
    return Planned(
        on_gpu,
        _count(trainer.devices, here if on_gpu else 1),
        int(trainer.num_nodes),
        trainer.strategy,
        str(trainer.precision or "32-true"),
    )


def _count(devices: Any, here: int) -> int:
    """Number of devices of a node: a number, a list, or all that are here (at least one)."""
    text = str(devices).strip("[]")
    if text in ("auto", "-1"):
        return max(1, here)
    try:
        given = [int(part) for part in text.split(",")]
    except ValueError:
        given = [0]
    is_list = isinstance(devices, list) or "," in text
    number = len(given) if is_list else given[0]
    if number < 1:
        raise UserError(f"trainer.devices is {devices!r}; allowed: a number, a list or auto")
    return number
