"""A student's weights without their values: how many, of which kind, how many bytes where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from nt_lightning.forecast.setup import Setup
from nt_lightning.student.head import backbone, base_model
from nt_lightning.student.loading import LoRA, outline_student

FLOAT32 = 4
# nf4: a 4-bit code, one byte of scale for 64 weights, four bytes of its scale for 256 of those
# (bitsandbytes with double quantisation); int8: a float32 scale for each row
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)


class Weight(NamedTuple):
    """One parameter of a student."""

    name: str
    shape: tuple[int, ...]
    trained: bool
    packed: bool  # by bitsandbytes, where the setup quantises
    in_layer: bool  # of a decoder layer, and not of embeddings, last norm or head
    layer: int  # number of its decoder layer; -1

    @property
    def numel(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def outline(model_name: str, lora: LoRA | None) -> Any:
    """A student on the meta device, with its adapters.

    Raises:
        UserError: There is no such model, or its ``config.json`` is missing.
    """
    with torch.device("meta"):
        return outline_student(model_name, lora)


def layers_of(model: Any) -> nn.ModuleList:
    """A student's decoder layers."""
    return backbone(model).layers  # type: ignore[return-value]


def weights_of(model: Any, *, quantized: bool = False) -> list[Weight]:
    """Every parameter once; tied ones are one."""
    layer_of = {
        id(parameter): index
        for index, layer in enumerate(layers_of(model))
        for parameter in layer.parameters()
    }
    packed = {id(linear.weight) for linear in base_linears(model)} if quantized else set()
    return [
        Weight(
            name,
            tuple(parameter.shape),
            parameter.requires_grad,
            id(parameter) in packed,
            id(parameter) in layer_of,
            layer_of.get(id(parameter), -1),
        )
        for name, parameter in model.named_parameters()
    ]


def base_linears(model: Any) -> Iterator[nn.Linear]:
    """The linear layers that quantisation packs: all but the head and the adapters."""
    head = base_model(model).get_output_embeddings()
    for name, module in model.named_modules():
        adapter = "lora_" in name
        if isinstance(module, nn.Linear) and module is not head and not adapter:
            yield module


def stored_bytes(weight: Weight, setup: Setup) -> int:
    """Bytes of a weight on one device; FSDP2 cuts the first dimension, rounded up."""
    first, *rest = weight.shape or (1,)
    if not weight.packed:
        return -(-first // setup.shards) * math.prod(rest) * FLOAT32
    each = FOUR_BIT if setup.quantization == "4bit" else 1 + FLOAT32 / math.prod(rest)
    return math.ceil(weight.numel * each / setup.shards)


def state_count(weight: Weight, setup: Setup) -> int:
    """Numbers of a trained weight that one device keeps gradients and states of."""
    first, *rest = weight.shape or (1,)
    return -(-first // setup.shards) * math.prod(rest)
