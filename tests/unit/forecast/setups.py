"""A setup of few words."""

from typing import Any

import torch

from nt_lightning.forecast.setup import Setup


def setup_for(model_name: str, **changes: Any) -> Setup:
    """All weights, float32, on one CPU; two traces of 48 tokens, 80 of them labelled."""
    values: dict[str, Any] = {
        "lora": None,
        "quantization": None,
        "checkpointing": 0,
        "strategy": "one device",
        "world_size": 1,
        "dtype": torch.float32,
        "on_gpu": False,
        "lengths": (48, 48),
        "labels": 80,
        "bins_per_step": 1,
        "state_bytes": 8.0,
    }
    return Setup(model_name, **{**values, **changes})
