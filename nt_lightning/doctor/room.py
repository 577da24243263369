"""Memory and disk that a check takes: one that does not fit is left out, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch

from nt_lightning.doctor.finding import NotChecked


def need_memory(size: int, device: torch.device, what: str) -> None:
    """Raise NotChecked where a device has less free memory than ``size`` bytes."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    _need(size, free, f"the memory of {device}", what)


def need_disk(size: int, folder: Path, what: str) -> None:
    """Raise NotChecked where a folder's disk has less room than ``size`` bytes."""
    _need(size, shutil.disk_usage(folder).free, str(folder), what)


def _need(size: int, free: int, where: str, what: str) -> None:
    if size > free:
        raise NotChecked(
            f"{what} takes {size / 1e9:.3g} GB; {free / 1e9:.3g} GB are free in {where}"
        )
