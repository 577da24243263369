"""Responses from any Hugging Face causal model in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import FinishReason
from nt_lightning.evaluation.rows import Decoding, Row, Work
from nt_lightning.evaluation.running import finish
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """One response.

    Args:
        text: What the response was begun with and what was generated, without the stop token.
        num_tokens: Generated tokens, the stop token included.
        finish_reason: ``stop``: a stop token; ``length``: the token limit; ``loop``: it went round
            in circles (``loops.goes_round``); ``time``: the deadline passed, or the tokens of the
            whole call were spent, before or during the response.
        ids: Generated ids, the stop token included; empty where they are not known or not kept.
    """

    text: str
    num_tokens: int
    finish_reason: FinishReason
    ids: tuple[int, ...] = ()


@torch.no_grad()  # not inference_mode: its tensors could not be trained on later
def generate(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    batch_size: int,
    begun: Sequence[str] | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    keys: Sequence[str] | None = None,
    deadline: float | None = None,
    max_total_tokens: int | None = None,
    stop_loops: bool = True,
    on_response: Callable[[int, Generation], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_batch_size: Callable[[int], None] | None = None,
    keep_ids: bool = True,
    agree: Callable[[bool], bool] | None = None,
) -> list[Generation]:
    """Generate one response per prompt.

    The longest prompts come first, so that a lack of memory shows at once. Hidden defaults of the
    model's folder (temperature, repetition penalty, ...) have no effect.

    Args:
        model: In eval mode, on its device, with an attention that honours left padding.
        formatter: Knows tokenizer and stop token.
        prompts: Prompt ids, with what the response is begun with at the end.
        max_new_tokens: Limit for each response, or one for all; lowered where the model's context
            ends before.
        batch_size: Responses at a time; halved where the GPU's memory does not suffice.
        begun: What each response is begun with, such as the mode's prefix; put in front again.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling, in (0, 1].
        seed: Seed of the sampling.
        keys: A name per prompt; its sampling depends on (seed, key) alone. The index by default.
        deadline: ``time.monotonic()`` at which generation stops.
        max_total_tokens: Generated tokens of all responses at which generation stops; the last
            step may go beyond it by less than ``batch_size``.
        stop_loops: End responses that go round in circles.
        on_response: Called with index and response as soon as a response has ended; not for one
            that the deadline or ``max_total_tokens`` cut off.
        on_progress: Called with the number of finished responses, after every token.
        on_batch_size: Called at the end with the batch size that fitted.
        keep_ids: Return ids too. Without, those of a finished response are only told to
            ``on_response``: the ids of all would be the greater part of what is held.
        agree: For a model whose weights are spread over ranks, which must call it equally often.
            Asked before every call of the model with whether this rank has work; answers whether
            any rank has. A rank without work then reads one token for nothing. All ranks must
            call ``generate`` together, also without prompts.

    Returns:
        Generations in the order of ``prompts``.

    Raises:
        UserError: The model's context has no room behind the longest prompt.
        ValueError: A limit is below 1.
        torch.OutOfMemoryError: One response does not fit; with ``agree``, a batch does not fit:
            the other ranks are within the same call of the model and cannot begin again.
    """
    if not prompts and agree is None:
        return []
    names = [str(index) for index in range(len(prompts))] if keys is None else keys
    prefixes = [""] * len(prompts) if begun is None else begun
    wanted = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens

    done: dict[int, Generation] = {}

    def end(row: Row) -> None:
        response = _generation(formatter, prefixes[row.index], row)
        done[row.index] = response if keep_ids else replace(response, ids=())
        if on_response:
            on_response(row.index, response)

    decoding = Decoding(
        stop_ids=_stop_ids(formatter),
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        deadline=deadline,
        max_total_tokens=max_total_tokens,
        stop_loops=stop_loops,
        on_row=end,
        on_progress=on_progress or (lambda _: None),
    )
    columns = range(len(prompts)), prompts, names, _limits(model, prompts, wanted)
    # The work alone holds rows, so that their ids go with them.
    work = Work(decoding, (Row(*values) for values in zip(*columns, strict=True)))
    fitted = finish(model, work, batch_size, agree)
    if on_batch_size:
        on_batch_size(fitted)
    decoding.on_progress(len(prompts))
    for row in work.unfinished:
        done[row.index] = _generation(formatter, prefixes[row.index], row)
    return [done[index] for index in range(len(prompts))]


@torch.no_grad()
def rehearse(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    *,
    agree: Callable[[bool], bool] | None = None,
) -> int:
    """Read the longest prompts and go one token beyond, so that a lack of memory shows early.

    Args:
        model: As for ``generate``.
        formatter: As for ``generate``.
        prompts: All prompts that will be asked.
        batch_size: Responses at a time.
        agree: As for ``generate``.

    Returns:
        The batch size that fits: the given one, or a half, a quarter, ... of it.

    Raises:
        UserError: Not even one prompt fits; with ``agree``, ``batch_size`` of them do not. Or the
            model's context has no room behind the longest one.
    """
    _check_room(model, prompts)
    longest = sorted(prompts, key=len)[-batch_size:]
    # Reading a prompt gives the first token, and the second one needs the cache.
    rows = [Row(index, prompt, "", 2) for index, prompt in enumerate(longest)]
    try:
        return finish(model, Work(Decoding(_stop_ids(formatter)), rows), batch_size, agree)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"generation runs out of memory at batch size {batch_size if agree else 1} of the "
            f"longest prompts (up to {max(map(len, longest), default=0)} tokens): {error}"
        ) from None


def _stop_ids(formatter: PromptFormatter) -> frozenset[int]:
    eos = formatter.tokenizer.eos_token_id
    return frozenset({formatter.stop_token_id} | ({eos} if eos is not None else set()))


def _generation(formatter: PromptFormatter, prefix: str, row: Row) -> Generation:
    body = row.ids[:-1] if row.finish_reason == "stop" else row.ids
    text = prefix + decode(formatter, body)
    return Generation(text, len(row.ids), row.finish_reason or "time", tuple(row.ids))


def decode(formatter: PromptFormatter, ids: Sequence[int]) -> str:
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


def _limits(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], wanted: Sequence[int]
) -> list[int]:
    """The limit of each response, lowered where the model's context ends before."""
    if min(wanted, default=1) < 1:
        raise ValueError(f"max_new_tokens of a response is {min(wanted)}; allowed: 1 and more")
    context = context_of(model)
    if context is None:
        return list(wanted)
    longest = _check_room(model, prompts)
    limits = [
        min(limit, context - len(prompt)) for prompt, limit in zip(prompts, wanted, strict=True)
    ]
    if num_lowered := sum(got < limit for got, limit in zip(limits, wanted, strict=True)):
        log.warning(
            "max_new_tokens is lowered for %d of %d prompts, to %d for the longest of %d tokens: "
            "the model's context is %d tokens",
            *(num_lowered, len(prompts), context - longest, longest, context),
        )
    return limits


def context_of(model: PreTrainedModel) -> int | None:
    """Tokens of a prompt and its response together that a model can read, if it says so."""
    return getattr(model.config, "max_position_embeddings", None)


def _check_room(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> int:
    """Length of the longest prompt, behind which the model's context has room for a token."""
    context, longest = context_of(model), max(map(len, prompts), default=0)
    if context is not None and longest >= context:
        raise UserError(
            f"a prompt of {longest} tokens leaves no room for a response: the model's "
            f"context (max_position_embeddings) is {context}"
        )
    return longest
