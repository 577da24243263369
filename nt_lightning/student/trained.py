"""What a Lightning checkpoint says about its student, without the optimizer's state."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.student.loading import LoRA, Quantization
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
    content, weights = _read_shards(path) if path.is_dir() else _read_file(path)
    ours = content.get("nt_lightning")
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


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is no checkpoint, or is damaged: {_first_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is no checkpoint of MaskedSFT: it holds no dict")
    return content, content.get("state_dict") or {}


def _read_shards(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Weights of a sharded checkpoint (FSDP); its optimizer state is not read."""
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    meta = path / "meta.pt"  # Lightning's name
    if not (path / ".metadata").is_file() or not meta.is_file():
        raise UserError(f"{path} is a folder, but no sharded checkpoint of Lightning")
    content = torch.load(meta, map_location="cpu", weights_only=True)
    reader = dcp.FileSystemReader(path)
    weights = {
        key.removeprefix("state_dict."): torch.empty(entry.size, dtype=entry.properties.dtype)
        for key, entry in reader.read_metadata().state_dict_metadata.items()
        if key.startswith("state_dict.") and isinstance(entry, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*in a single process.*")  # as intended
        dcp.load({"state_dict": weights}, storage_reader=reader, no_dist=True)
    return content, weights


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
