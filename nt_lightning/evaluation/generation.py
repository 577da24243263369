"""Responses in batches, from any Hugging Face causal model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import FinishReason
from nt_lightning.evaluation.sampling import SeededSampling, uniform_draws
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


@dataclass(frozen=True)
class _Plan:
    """What holds for all batches of one call."""

    stop_ids: list[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    deadline: float | None
    report: Callable[[int], None]

    def config(self) -> GenerationConfig:
        """Greedy search: with a temperature, ``SeededSampling`` in front of it draws."""
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=self.stop_ids,
            pad_token_id=self.stop_ids[0],  # behind the stop token; prompts are masked by position
        )


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
        batch_size: Prompts at a time.
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
    plan = _Plan(
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
    with _plain_generation_config(model):
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = [prompts[row] for row in rows]
            responses = _generate_batch(model, plan, batch, [names[row] for row in rows], begin)
            done |= {
                row: _finished(formatter, plan, prefix, ids)
                for row, ids in zip(rows, responses, strict=True)
            }
            plan.report(len(done))
    return [done[index] for index in range(len(prompts))]


def _generate_batch(
    model: PreTrainedModel, plan: _Plan, prompts: list[Sequence[int]], keys: list[str], done: int
) -> list[list[int]]:
    """New ids per prompt, the first stop token included."""
    if plan.deadline is not None and time.monotonic() >= plan.deadline:
        return [[] for _ in prompts]
    width = max(map(len, prompts))
    input_ids = torch.full((len(prompts), width), plan.stop_ids[0])
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        attention_mask[row, width - len(ids) :] = 1
    processors = LogitsProcessorList()
    if plan.temperature > 0:
        draws = uniform_draws(plan.seed, keys, plan.max_new_tokens).to(model.device)
        processors.append(SeededSampling(draws, width, plan.temperature, plan.top_p))
    output: Tensor = model.generate(  # type: ignore[operator]
        input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        generation_config=plan.config(),
        logits_processor=processors,
        stopping_criteria=StoppingCriteriaList([_Watch(plan, done, model.device)]),
    )
    return [_up_to_stop(ids, plan.stop_ids) for ids in output[:, width:].tolist()]


class _Watch(StoppingCriteria):
    """Looks at the clock after every token, and reports how many responses have stopped."""

    def __init__(self, plan: _Plan, done: int, device: torch.device) -> None:
        self.plan, self.done = plan, done
        self.stop_ids = torch.tensor(plan.stop_ids, device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """True for all rows once the deadline has passed."""
        self.plan.report(self.done + int(torch.isin(input_ids[:, -1], self.stop_ids).sum()))
        deadline = self.plan.deadline
        late = deadline is not None and time.monotonic() >= deadline
        return torch.full((len(input_ids),), late, device=input_ids.device)


def _up_to_stop(ids: list[int], stop_ids: list[int]) -> list[int]:
    stop = next((place for place, token in enumerate(ids) if token in stop_ids), None)
    return ids if stop is None else ids[: stop + 1]


def _finished(formatter: PromptFormatter, plan: _Plan, prefix: str, ids: list[int]) -> Generation:
    reason: FinishReason = "length" if len(ids) >= plan.max_new_tokens else "time"
    body = ids
    if ids and ids[-1] in plan.stop_ids:
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
