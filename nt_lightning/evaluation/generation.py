"""Responses in batches, from any Hugging Face causal model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from nt_lightning.errors import UserError
from nt_lightning.evaluation.decoding import Decoding, decode_batch
from nt_lightning.evaluation.outcomes import FinishReason
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """One response.

    Args:
        text: The mode's prefix and what was generated, without the stop token.
        num_tokens: Generated tokens, the stop token included, the prefix not.
        finish_reason: ``stop``: a stop token; ``length``: the token limit; ``time``: the deadline
            passed, before or during the response.
    """

    text: str
    num_tokens: int
    finish_reason: FinishReason


@torch.no_grad()  # not inference_mode: its tensors could not be trained on later
def generate(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    prefix: str = "",
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    keys: Sequence[str] | None = None,
    deadline: float | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Generation]:
    """Generate one response per prompt.

    Prompts run in batches, the longest first, so that a lack of memory shows at once. Hidden
    defaults of the model's folder (temperature, repetition penalty, ...) have no effect.

    Args:
        model: In eval mode, on its device, with an attention that honours left padding.
        formatter: Knows tokenizer and stop token.
        prompts: Prompt ids, with the mode's prefix at the end.
        max_new_tokens: Limit for each response; lowered where the model's context is shorter.
        batch_size: Prompts at a time; halved where the GPU's memory does not suffice.
        prefix: Text of the mode's prefix, put in front of each response again.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling, in (0, 1].
        seed: Seed of the sampling.
        keys: A name per prompt; its sampling depends on (seed, key) alone. The index by default.
        deadline: ``time.monotonic()`` at which generation stops.
        on_progress: Called with the number of finished responses, after every token.

    Returns:
        Generations in the order of ``prompts``.

    Raises:
        UserError: The model's context has no room behind the longest prompt.
    """
    if not prompts:
        return []
    names = [str(index) for index in range(len(prompts))] if keys is None else list(keys)
    eos = formatter.tokenizer.eos_token_id
    decoding = Decoding(
        stop_ids=list(dict.fromkeys([formatter.stop_token_id, *([] if eos is None else [eos])])),
        max_new_tokens=_fitting(model, max(map(len, prompts)), max_new_tokens),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        deadline=deadline,
        report=on_progress or (lambda _: None),
    )
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    done: dict[int, Generation] = {}
    with _plain_generation_config(model), _contiguous_head_input(model):
        while len(done) < len(order):
            rows = order[len(done) : len(done) + batch_size]
            batch = [prompts[row] for row in rows]
            try:
                responses = decode_batch(
                    model, decoding, batch, [names[row] for row in rows], len(done)
                )
            except torch.OutOfMemoryError:
                if batch_size == 1:
                    raise
                batch_size //= 2
                torch.cuda.empty_cache()
                log.warning("out of memory: generating %d responses at a time", batch_size)
                continue
            done |= {
                row: _finished(formatter, decoding, prefix, ids)
                for row, ids in zip(rows, responses, strict=True)
            }
            decoding.report(len(done))
    return [done[index] for index in range(len(prompts))]


def _finished(
    formatter: PromptFormatter, decoding: Decoding, prefix: str, ids: list[int]
) -> Generation:
    reason: FinishReason = "length" if len(ids) >= decoding.max_new_tokens else "time"
    body = ids
    if ids and ids[-1] in decoding.stop_ids:
        reason, body = "stop", ids[:-1]
    return Generation(prefix + _decode(formatter, body), len(ids), reason)


def _decode(formatter: PromptFormatter, ids: list[int]) -> str:
    """Text without special tokens; think tags stay, also where they are special tokens."""
    tokenizer = formatter.tokenizer
    added = tokenizer.added_tokens_decoder
    special = {token for token, entry in added.items() if entry.special}
    special |= set(tokenizer.all_special_ids)
    special -= {
        token for token, entry in added.items() if entry.content in (THINK_OPEN, THINK_CLOSE)
    }
    plain = [token for token in ids if token not in special]
    return str(
        tokenizer.decode(plain, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _fitting(model: PreTrainedModel, longest_prompt: int, max_new_tokens: int) -> int:
    context = getattr(model.config, "max_position_embeddings", None)
    if context is None or longest_prompt + max_new_tokens <= context:
        return max_new_tokens
    room = int(context) - longest_prompt
    if room < 1:
        raise UserError(
            f"a prompt of {longest_prompt} tokens leaves no room for a response: the model's "
            f"context (max_position_embeddings) is {context}"
        )
    log.warning(
        "max_new_tokens %d is lowered to %d: the model's context is %d tokens and the longest "
        "prompt has %d",
        *(max_new_tokens, room, context, longest_prompt),
    )
    return room


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
