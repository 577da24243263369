"""All responses of a call, by the way of decoding that the model allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from nt_lightning.evaluation.decoding import can_refill, decode_refilling
from nt_lightning.evaluation.rows import Work
from nt_lightning.evaluation.shrinking import decode_shrinking

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def finish(model: Any, work: Work, batch_size: int, agree: Callable[[bool], bool] | None) -> int:
    """Finish the work, or as much as its limits allow, at the largest batch size that fits.

    Args:
        model: In eval mode, on its device.
        work: Responses that wait.
        batch_size: Responses at a time; halved where the memory does not suffice.
        agree: As for ``generation.generate``.

    Returns:
        The batch size at the end.
    """
    inner: Any = model.get_base_model() if hasattr(model, "peft_config") else model
    with _plain_generation_config(model), _contiguous_head_input(model):
        with _asking(model, agree):
            refills = can_refill(model, inner)
        called = model if refills else inner
        decode = decode_refilling if refills else decode_shrinking
        with _asking(called, agree):
            while not _fits(decode, called, work, batch_size, can_halve=agree is None):
                work.put_back()
                torch.cuda.empty_cache()
                batch_size //= 2
                log.warning("out of memory: generating %d responses at a time", batch_size)
        while agree is not None and agree(False):
            called(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device))
    return batch_size


def _fits(
    decode: Callable[[Any, Work, int], None],
    model: Any,
    work: Work,
    batch_size: int,
    *,
    can_halve: bool,
) -> bool:
    """Decode; whether the memory sufficed. The exception is gone then, and what its frames held."""
    try:
        decode(model, work, batch_size)
    except torch.OutOfMemoryError:
        if batch_size == 1 or not can_halve:
            raise
        return False
    return True


@contextmanager
def _asking(model: Any, agree: Callable[[bool], bool] | None) -> Iterator[None]:
    """Ask the other ranks before every call of the model."""
    if agree is None:
        yield
        return

    def ask(*_: object) -> None:
        agree(True)

    hook = model.register_forward_pre_hook(ask, prepend=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _plain_generation_config(model: PreTrainedModel) -> Iterator[None]:
    """Put the model's own generation defaults aside: ``generate`` fills gaps from them."""
    owners = [
        module
        for module in model.modules()
        if isinstance(vars(module).get("generation_config"), GenerationConfig)
    ]
    saved = [module.generation_config for module in owners]
    try:
        for module in owners:
            module.generation_config = GenerationConfig()  # type: ignore[assignment]
        yield
    finally:
        for module, config in zip(owners, saved, strict=True):
            module.generation_config = config  # type: ignore[assignment]


@contextmanager
def _contiguous_head_input(model: PreTrainedModel) -> Iterator[None]:
    """Copy what the head sees: the last position of a prefill is a strided view.

    torch multiplies a strided bfloat16 batch on the CPU as a batched product, for which it copies
    the head's weight once per row: 60 MB a row at a vocabulary of 49k.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield
    finally:
        hook.remove()
