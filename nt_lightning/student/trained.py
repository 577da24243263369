"""What a Lightning checkpoint says about its student, without the optimizer's state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint_io import check_checkpoint, open_checkpoint
from nt_lightning.student.loading import LoRA, Quantization
from nt_lightning.student.shards import Parts, whole
from nt_lightning.traces.modes import ThinkModes

_PREFIX = "model."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of MaskedSFT says about its student.

    Args:
        path: Where it lies.
        weights: Trained weights by their names in the student; memory-mapped where that is
            possible. All of them, or under LoRA the adapters alone.
        model_name: The base model.
        modes: Think modes of the run, ``{K}`` filled.
        system_prompt: System turn of the run.
        lora: Adapters of the run.
        quantization: Number format of the frozen base under ``lora``.
        step: Optimizer steps done.
        epoch: Epochs begun, from 0.
    """

    path: Path
    weights: dict[str, Tensor]
    model_name: str
    modes: ThinkModes
    system_prompt: str | None
    lora: LoRA | None
    quantization: Quantization | None
    step: int
    epoch: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the folder of a sharded one, without its optimizer state.

    Raises:
        UserError: It is damaged, or of something else than MaskedSFT.
    """
    check_checkpoint(path)
    parts = open_checkpoint(path)
    content = parts.outline
    ours = content.get("nt_lightning")
    trained = {"state_dict": content.get("state_dict") or {}}
    weights = whole(Parts(trained, parts.boxes))["state_dict"]
    if not isinstance(ours, dict) or not weights:
        raise UserError(f"{path} is no checkpoint of MaskedSFT: it has no entry 'nt_lightning'")
    return Checkpoint(
        path=path,
        weights={name.removeprefix(_PREFIX): value for name, value in weights.items()},
        model_name=ours["model_name"],
        modes=ThinkModes.from_dict(ours["think_modes"]),
        system_prompt=ours["system_prompt"],
        lora=LoRA(**ours["lora"]) if ours.get("lora") else None,
        quantization=ours.get("quantization"),
        step=int(content["global_step"]),
        epoch=int(content["epoch"]),
    )
