"""``forecast``: what a recipe's run takes, from its plan and its student's shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.errors import UserError
from nt_lightning.files import write_json
from nt_lightning.forecast.device import Device
from nt_lightning.forecast.flops import work_of
from nt_lightning.forecast.memory import Memory, memory_of
from nt_lightning.forecast.options import advice, verdict
from nt_lightning.forecast.planned import Planned
from nt_lightning.forecast.setup import Setup, lengths_of, setup_of
from nt_lightning.forecast.show import tables
from nt_lightning.forecast.steps import Limits, Run, run_of
from nt_lightning.forecast.weights import outline, weights_of

FILE = "forecast.json"


def forecast(
    student: Any,
    data: TraceDataModule,
    planned: Planned,
    device: Device,
    *,
    mfu: float,
    limits: Limits,
    folder: Path,
) -> None:
    """Print the forecast and write it as ``forecast.json``; no weights are loaded.

    Args:
        student: ``MaskedSFT``.
        data: Its traces, set up.
        planned: The devices of the recipe.
        device: One of them.
        mfu: Model FLOPs utilisation of a device while it has a row: FLOPs that training needs,
            nothing recomputed, by the device's peak.
        limits: Where the trainer ends.
        folder: The run's.

    Raises:
        UserError: ``mfu`` is not in 0 .. 1, the student's ``config.json`` is missing, or it does
            not train so.
    """
    if not 0 < mfu <= 1:
        raise UserError(f"--mfu is {mfu}; allowed: more than 0, at most 1")
    if not isinstance(data, TraceDataModule):
        raise UserError(f"data is {type(data).__name__}; allowed: a selection of traces")
    setup = setup_of(
        student,
        data,
        strategy=planned.strategy,
        world_size=planned.world_size,
        precision=planned.precision,
        on_gpu=planned.on_gpu,
    )
    model = outline(setup.model_name, setup.lora)
    run = run_of(
        data.plan(0),
        *lengths_of(data),
        work_of(model),
        world_size=setup.world_size,
        checkpointing=setup.checkpointing,
        limits=limits,
    )
    weights = weights_of(model)
    report = {
        "student": {
            "model_name": setup.model_name,
            "weights": sum(weight.numel for weight in weights),
            "trained": sum(weight.numel for weight in weights if weight.trained),
        },
        "devices": _devices(setup, device),
        "run": run._asdict(),
        "time": _time(run, device, mfu),
        "memory": _memory(setup, device, run.longest),
    }
    write_json(folder / FILE, report)
    console = Console(highlight=False, markup=False)
    for table in tables(report):
        console.print(table, "")
    console.print(report["memory"]["advice"] or "", soft_wrap=True)
    console.print(f"forecast: {folder / FILE}", soft_wrap=True)


def _devices(setup: Setup, device: Device) -> dict[str, Any]:
    return {
        "number": setup.world_size,
        "strategy": setup.strategy,
        "dtype": str(setup.dtype).removeprefix("torch."),
        **device._asdict(),
    }


def _time(run: Run, device: Device, mfu: float) -> dict[str, float | None]:
    """Seconds and tokens a second at an MFU; nothing where the peak is not known."""
    if device.peak is None:
        return {"mfu": mfu, "seconds": None, "tokens_per_s": None, "peak_used": None}
    seconds = run.slowest_flops / (device.peak * mfu)
    return {
        "mfu": mfu,
        "seconds": seconds,
        "tokens_per_s": run.tokens_in_all / seconds,
        "peak_used": mfu * (1 + run.recomputed_flops / run.model_flops),
    }


def _memory(setup: Setup, device: Device, longest: int) -> dict[str, Any]:
    """The parts for one device, the other way to treat activations, and what would fit."""
    memory = memory_of(setup)
    other = memory_of(replace(setup, checkpointing=0 if setup.checkpointing else 1))
    found = verdict(memory, device.memory)
    too_large = device.memory is not None and memory.total > device.memory
    return {
        "parts": memory._asdict(),
        "total": memory.total,
        "fixed": memory.fixed,
        "activations_if_kept": _of_rows(other if setup.checkpointing else memory),
        "activations_if_recomputed": _of_rows(memory if setup.checkpointing else other),
        "room": device.memory,
        "verdict": found,
        "advice": advice(setup, memory, device.memory, longest) if too_large else None,  # type: ignore[arg-type]
    }


def _of_rows(memory: Memory) -> int:
    return memory.casts + memory.activations + memory.loss + memory.backward
