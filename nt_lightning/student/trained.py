"""What a Lightning checkpoint says about its student, without the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint_io import check_checkpoint, open_checkpoint
from nt_lightning.student.loading import LoRA, Quantization
from nt_lightning.student.shards import LazyTensors
from nt_lightning.traces.modes import ThinkModes

_PREFIX = "model."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of MaskedSFT says about its student.

    Args:
        path: Where it lies.
        weights: Trained weights by their names in the student: all of them, or under LoRA the
            adapters alone. Those of a checkpoint are read when they are asked for.
        model_name: The base model.
        modes: Think modes of the run, ``{K}`` filled.
        system_prompt: System turn of the run.
        lora: Adapters of the run.
        quantization: Number format of the frozen base under ``lora``.
        step: Optimizer steps done.
        epoch: Epochs begun, from 0.
    """

    path: Path
    weights: Mapping[str, Tensor]
    model_name: str
    modes: ThinkModes
    system_prompt: str | None
    lora: LoRA | None
    quantization: Quantization | None
    step: int
    epoch: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint file, or the folder of a sharded one, without its optimizer state.

    The weights stay on the disk, mapped into memory: a tensor of a sharded checkpoint is put
    together each time it is asked for, one of a file is the mapped one.

    Raises:
        UserError: It is damaged, or of something else than MaskedSFT.
    """
    check_checkpoint(path)
    parts = open_checkpoint(path)
    content = parts.outline
    ours = content.get("nt_lightning")
    weights = LazyTensors(parts, "state_dict", _PREFIX)
    if not isinstance(ours, dict) or not weights:
        raise UserError(f"{path} is no checkpoint of MaskedSFT: it has no entry 'nt_lightning'")
    return Checkpoint(
        path=path,
        weights=weights,
        model_name=ours["model_name"],
        modes=ThinkModes.from_dict(ours["think_modes"]),
        system_prompt=ours["system_prompt"],
        lora=LoRA(**ours["lora"]) if ours.get("lora") else None,
        quantization=ours.get("quantization"),
        step=int(content["global_step"]),
        epoch=int(content["epoch"]),
    )
