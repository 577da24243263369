"""Loading a student that is shared out over ranks: one whole copy, on the first rank alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from nt_lightning.errors import UserError
from nt_lightning.evaluation.ranks import patient_group

Share = Callable[[Any], None]


def load_on_first_rank(
    load: Callable[[], Any], outline: Callable[[], Any], share: Share, device: torch.device
) -> Any:
    """A model whose weights come from the first rank, tensor by tensor.

    The first rank holds a whole copy in host memory until it is shared out; the others never hold
    more than their shards and one tensor. All ranks call it together.

    Args:
        load: Makes the whole model; called on the first rank.
        outline: Makes the same model without memory, on the meta device; called on every rank.
        share: Prepares the outline for training and calls ``sharding.shard`` on it.
        device: Where the shards lie.

    Raises:
        UserError: ``load`` raised it on the first rank (all ranks raise it), or the model keeps
            tensors that are neither parameters nor buffers.
    """
    whole, problem = None, None
    if dist.get_rank() == 0:
        try:
            whole = load()
        except UserError as error:
            problem = str(error)
    # patient: the others wait as long as the first one reads
    told = [problem, whole.generation_config if whole is not None else None]
    dist.broadcast_object_list(told, src=0, group=patient_group())
    if told[0] is not None:
        raise UserError(told[0])
    with torch.device("meta"):
        model = outline()
    model.generation_config = told[1]
    share(model)
    model.to_empty(device=device)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, whole.state_dict() if whole is not None else {}, options=options)
    _fill_buffers(model, whole)
    if forgotten := sorted(_tensors_left(model)):
        raise UserError(f"{type(model).__name__} keeps tensors that cannot be shared: {forgotten}")
    return model


def _fill_buffers(model: nn.Module, whole: nn.Module | None) -> None:
    """Copy what no checkpoint holds, such as rotary frequencies."""
    source = dict(whole.named_buffers()) if whole is not None else {}
    for name, buffer in model.named_buffers():
        own = buffer.to_local() if isinstance(buffer, DTensor) else buffer  # whole on every device
        if whole is not None:
            own.copy_(source[name])
        dist.broadcast(own, src=0)


def _tensors_left(model: nn.Module) -> Iterator[str]:
    """Plain attributes that are tensors without memory."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_meta:
                yield f"{name}.{key}"
