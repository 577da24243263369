"""A student whose weights are shared out over ranks: FSDP2, one unit per decoder layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from nt_lightning.errors import UserError
from nt_lightning.evaluation.ranks import EvaluationStopped
from nt_lightning.student.head import backbone, base_model
from nt_lightning.student.tensor_parallel import parallelize


def shard(model: Any, mesh: DeviceMesh, dtype: torch.dtype = torch.float32) -> None:
    """Share a model's weights out over the data-parallel ranks, layer by layer.

    Adapters must be there already: those that come later are never reduced (transformers 48873).
    What is no layer (embeddings, last norm, head) is one unit, whole from a forward pass to the end
    of the backward pass: the loss reads the head's weight itself, behind the forward pass.

    Args:
        model: A whole model, or one on the meta device; the same on every rank.
        mesh: Lightning's, with dimensions ``data_parallel`` and ``tensor_parallel``.
        dtype: What float32 weights of layers are gathered in. The shards are the master weights,
            gradients are summed in float32, and what is no layer is gathered as it is; autocast
            decides what is computed in which dtype, as without sharding. Layers with packed
            weights (4 bits) are gathered as they are: a cast would change their bits.

    Raises:
        UserError: The model has no list of layers, or cannot be divided over
            ``tensor_parallel``'s devices.
    """
    layers = getattr(backbone(model), "layers", None)
    if layers is None:
        raise UserError(f"{type(base_model(model)).__name__} has no list of layers to shard by")
    if rows_are_shared(mesh):
        parallelize(model, layers, mesh["tensor_parallel"])
    is_packed = any(parameter.dtype != torch.float32 for parameter in model.parameters())
    policy = MixedPrecisionPolicy(
        param_dtype=None if is_packed else dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh["data_parallel"], mp_policy=policy)
    fully_shard(model, mesh=mesh["data_parallel"])
    model.hidden_states = backbone(model).forward
    register_fsdp_forward_method(model, "hidden_states")


def rows_are_shared(mesh: DeviceMesh | None) -> bool:
    """Whether several devices compute each row together."""
    return mesh is not None and mesh["tensor_parallel"].size() > 1


def check_shareable(mesh: DeviceMesh, quantization: str | None, command: str | None) -> None:
    """Refuse what cannot be shared out, before anything is loaded.

    Raises:
        UserError: ``predict``, 8-bit weights, or packed weights of layers that would be divided.
    """
    if command == "predict":
        raise UserError(
            "predict does not run on a student that is shared out over devices: ranks would "
            "wait for each other at different responses; export the checkpoint, or use ddp"
        )
    if quantization == "8bit":
        raise UserError(
            "model.quantization is '8bit' under fsdp2; allowed there: 4bit (bitsandbytes keeps "
            "8-bit weights in tensors that cannot be shared out), or ddp"
        )
    if rows_are_shared(mesh) and quantization is not None:
        raise UserError(
            f"model.quantization is {quantization!r} with tensor_parallel_size above 1; "
            "allowed there: null (packed weights cannot be divided by rows and columns)"
        )


def hidden_states(model: Any, **inputs: Any) -> Any:
    """Output of the part in front of the head; of a sharded model the head is whole then, too."""
    forward = model.hidden_states if is_sharded(model) else backbone(model)
    return forward(**inputs)


def is_sharded(model: Any) -> bool:
    """Whether ``shard`` was called on a model."""
    return isinstance(model, FSDPModule)


def agreement(device: torch.device) -> Callable[[bool, bool], bool]:
    """A function by which ranks tell each other whether they have work, and are to stop.

    All ranks call it together; it answers whether any has work.
    """

    def agree(mine: bool, is_told: bool) -> bool:
        flags = torch.tensor([mine, is_told], dtype=torch.int32, device=device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        has_work, stops = flags.tolist()
        if stops:
            raise EvaluationStopped
        return bool(has_work)

    return agree


@contextmanager
def lent(model: Any, attention: str) -> Iterator[Any]:
    """A sharded model in eval mode with another attention; afterwards it is as it was.

    Args:
        model: The model in training.
        attention: Name of an attention that honours left padding.
    """
    base = base_model(model)
    before, modes = base.config._attn_implementation, [m.training for m in model.modules()]
    base.set_attn_implementation(attention)
    model.eval()
    try:
        yield model
    finally:
        base.set_attn_implementation(before)
        for module, training in zip(model.modules(), modes, strict=True):
            module.training = training
        model.reshard()  # after a forward pass without a backward pass the root stays whole
