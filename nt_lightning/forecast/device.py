"""The device that a forecast is for: its memory and its peak."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

import torch

from nt_lightning.errors import UserError

Gpu = Literal[
    "auto", "a100-40", "a100-80", "b200", "h100", "h100-pcie", "h200", "l4", "l40s", "rtx4090"
]
GIB = 2**30
TERA = 1e12


class Device(NamedTuple):
    """One device; ``None`` where nobody has said."""

    name: str
    memory: int | None  # bytes
    peak: float | None  # FLOP/s, dense, bfloat16


# Dense bfloat16 TFLOP/s of NVIDIA's data sheets (half of the figure "with sparsity"; RTX 4090: Ada
# white paper, float32 accumulation), and the whole GiB that torch reports of such a device.
GPUS = {
    "a100-40": ("A100-SXM4-40GB", 39, 312.0),
    "a100-80": ("A100-SXM4-80GB", 79, 312.0),
    "b200": ("B200", 178, 2250.0),
    "h100": ("H100 80GB HBM3", 79, 989.0),
    "h100-pcie": ("H100 PCIe", 79, 756.0),
    "h200": ("H200", 139, 989.0),
    "l4": ("L4", 22, 121.0),
    "l40s": ("L40S", 44, 362.0),
    "rtx4090": ("GeForce RTX 4090", 23, 165.0),
}


def device_of(
    gpu: Gpu, peak_tflops: float | None, memory_gb: float | None, *, on_gpu: bool, per_node: int
) -> Device:
    """The device by name, or this machine's.

    Args:
        gpu: A name of ``GPUS``, or ``auto``: this machine's first GPU, without one its CPU.
        peak_tflops: Its dense peak in 1e12 FLOP/s, in place of the table's.
        memory_gb: Its memory in GiB, in place of the table's.
        on_gpu: Whether the run is to be on GPUs; ``auto`` knows none of them on another machine.
        per_node: Processes that share a CPU's memory.

    Raises:
        UserError: A peak or a memory that is not positive.
    """
    for name, value in (("peak_tflops", peak_tflops), ("memory_gb", memory_gb)):
        if value is not None and not value > 0:
            raise UserError(f"--{name} is {value}; allowed: more than 0")
    if gpu != "auto":
        found = _from_table(gpu)
    elif not on_gpu:
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found = Device("cpu", ram // per_node, None)
    else:
        found = _here()
    return Device(
        found.name,
        found.memory if memory_gb is None else int(memory_gb * GIB),
        found.peak if peak_tflops is None else peak_tflops * TERA,
    )


def _from_table(gpu: str) -> Device:
    name, gib, tflops = GPUS[gpu]
    return Device(f"NVIDIA {name}", gib * GIB, tflops * TERA)


def _here() -> Device:
    """This machine's first GPU."""
    if not torch.cuda.is_available():
        return Device("GPU", None, None)
    about = torch.cuda.get_device_properties(0)
    # the longest name first: L40S is no L4
    by_length = sorted(GPUS.values(), key=lambda entry: -len(entry[0]))
    peaks = [tflops for name, _, tflops in by_length if name in about.name]
    return Device(about.name, about.total_memory, peaks[0] * TERA if peaks else None)
