"""Memory of one device in training, each part a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from nt_lightning.forecast.activations import StepMemory, step_memory
from nt_lightning.forecast.setup import Setup
from nt_lightning.forecast.weights import (
    FLOAT32,
    Weight,
    outline,
    state_count,
    stored_bytes,
    weights_of,
)

GATHERED_AT_ONCE = 2  # FSDP2 asks for a layer while the one before it is computed


class Memory(NamedTuple):
    """Bytes on one device when most is alive; the parts add up.

    Caches, fragments and the device's own context are not in it.
    """

    weights: int  # float32 or packed; under fsdp2 this device's share
    gathered_layers: int  # fsdp2: layers that are whole at one time, and a layer's gradient
    gathered_rest: int  # fsdp2: embeddings, last norm and head, whole for a micro-batch
    unpacked: int  # quantised: the largest weight as it is computed with
    gradients: int  # float32; whole under fsdp2 with several micro-batches a step
    buckets: int  # DDP's copy of the gradients
    optimizer: int
    casts: int  # weights in the dtype that is computed in, made by autocast
    activations: int
    loss: int
    backward: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def fixed(self) -> int:
        """What is there whatever the rows are: weights, gradients and optimizer states."""
        return self.weights + self.gradients + self.buckets + self.optimizer


def memory_of(setup: Setup) -> Memory:
    """Memory of one device at the worst moment of a step.

    Args:
        setup: The student, its training and the fullest row.

    Source: the parts are those of ZeRO (arXiv:1910.02054), section 3; what is whole when under
        FSDP2 is torch's ``fully_shard`` as ``student/sharding.py`` calls it.
    """
    return add_up(setup, weights_in(setup), step_memory(setup))


def weights_in(setup: Setup) -> list[Weight]:
    """A setup's weights."""
    return weights_of(outline(setup.model_name, setup.lora), quantized=bool(setup.quantization))


def add_up(setup: Setup, weights: Sequence[Weight], step: StepMemory) -> Memory:
    """The parts of ``memory_of``.

    Args:
        setup: The student and its training.
        weights: Its weights.
        step: What a step takes beside them.
    """
    trained = [weight for weight in weights if weight.trained]
    own = sum(state_count(weight, setup) for weight in trained)
    whole = sum(weight.numel for weight in trained)
    sharded = setup.shards > 1
    packed = max((weight.numel for weight in weights if weight.packed), default=0)
    return Memory(
        weights=sum(stored_bytes(weight, setup) for weight in weights),
        gathered_layers=_gathered_layers(setup, weights) if sharded else 0,
        gathered_rest=FLOAT32 * sum(w.numel for w in weights if not w.in_layer) if sharded else 0,
        unpacked=packed * setup.dtype.itemsize,
        gradients=FLOAT32 * (own + (whole if sharded and setup.micro_batches > 1 else 0)),
        buckets=FLOAT32 * whole if setup.strategy == "ddp" else 0,
        optimizer=round(setup.state_bytes * own),
        casts=step.casts,
        activations=step.activations,
        loss=step.loss,
        backward=step.backward,
    )


def _gathered_layers(setup: Setup, weights: Sequence[Weight]) -> int:
    """The largest layer as often as it is whole, and its gradient in float32 to be summed."""
    plain = torch.float32 if setup.quantization else setup.dtype
    sizes: dict[int, int] = {}
    for weight in weights:
        if weight.in_layer:
            size = weight.numel * plain.itemsize
            if weight.packed:
                size = stored_bytes(weight, setup) * setup.shards
            sizes[weight.layer] = sizes.get(weight.layer, 0) + size
    gradients: dict[int, int] = {}
    for weight in weights:
        if weight.in_layer and weight.trained:
            gradients[weight.layer] = gradients.get(weight.layer, 0) + weight.numel * FLOAT32
    return GATHERED_AT_ONCE * max(sizes.values()) + max(gradients.values(), default=0)
