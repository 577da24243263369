"""One batch of prompts, token by token, from which finished responses leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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

from nt_lightning.evaluation.sampling import SeededSampling, uniform_draws

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Decoding:
    """How all batches of one call are decoded.

    Args:
        stop_ids: Ids that end a response; the first is put behind it.
        max_new_tokens: Limit for each response.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling.
        seed: Seed of the sampling.
        deadline: ``time.monotonic()`` at which decoding stops.
        report: Told the number of finished responses after every token.
    """

    stop_ids: list[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    deadline: float | None
    report: Callable[[int], None]

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def config(self, num_done: int) -> GenerationConfig:
        """Greedy search: with a temperature, ``SeededSampling`` in front of it draws."""
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens - num_done,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            return_dict_in_generate=True,
            eos_token_id=self.stop_ids,
            pad_token_id=self.stop_ids[0],
        )


def decode_batch(
    model: PreTrainedModel,
    decoding: Decoding,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    num_before: int,
) -> list[list[int]]:
    """New ids per prompt, the first stop token included.

    Whenever half of the responses have stopped, the others go on without them: rows of ids, mask
    and cache are dropped, nothing is computed again. The batch ends when all have stopped.

    Args:
        model: Model in eval mode.
        decoding: How.
        prompts: Prompt ids; they are padded on the left and masked by position.
        keys: Names of the prompts, for the sampling.
        num_before: Responses that earlier batches finished, for the report.
    """
    if decoding.is_late:
        return [[] for _ in prompts]
    ids_BT, mask_BT = _left_padded(prompts, decoding.stop_ids[0], model.device)
    width, cache, draws_BT = ids_BT.shape[1], None, None
    if decoding.temperature > 0:
        draws_BT = uniform_draws(decoding.seed, keys, decoding.max_new_tokens).to(model.device)
    responses: dict[int, list[int]] = {}
    rows = list(range(len(prompts)))
    while rows:
        output: Any = model.generate(  # type: ignore[operator]
            ids_BT,
            attention_mask=mask_BT,
            past_key_values=cache,
            generation_config=decoding.config(ids_BT.shape[1] - width),
            logits_processor=_processors(decoding, draws_BT, width),
            stopping_criteria=StoppingCriteriaList(
                [_Watch(decoding, num_before + len(responses), model.device)]
            ),
        )
        ids_BT, cache = output.sequences, output.past_key_values
        new = [_up_to_stop(ids, decoding.stop_ids) for ids in ids_BT[:, width:].tolist()]
        over = decoding.is_late or ids_BT.shape[1] - width >= decoding.max_new_tokens
        left = [] if over else [i for i, ids in enumerate(new) if ids[-1] not in decoding.stop_ids]
        responses |= {rows[i]: ids for i, ids in enumerate(new) if i not in left}
        rows = [rows[i] for i in left]
        kept = torch.tensor(left, dtype=torch.long, device=model.device)
        added = ids_BT.shape[1] - mask_BT.shape[1]
        ids_BT = ids_BT[kept]
        mask_BT = torch.nn.functional.pad(mask_BT[kept], (0, added), value=1)
        draws_BT = None if draws_BT is None else draws_BT[kept]
        if cache is not None and rows:  # a model without a cache reads everything again
            cache.batch_select_indices(kept)
    return [responses[row] for row in range(len(prompts))]


class _Watch(StoppingCriteria):
    """After every token: report, look at the clock, and end the pass when half have stopped."""

    def __init__(self, decoding: Decoding, num_before: int, device: torch.device) -> None:
        self.decoding, self.num_before = decoding, num_before
        self.stop_ids = torch.tensor(decoding.stop_ids, device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """True for all rows at the end of the pass."""
        stopped = int(torch.isin(input_ids[:, -1], self.stop_ids).sum())
        self.decoding.report(self.num_before + stopped)
        over = self.decoding.is_late or 2 * stopped >= len(input_ids)
        return torch.full((len(input_ids),), over, device=input_ids.device)


def _left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T]; what the pad is does not matter."""
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), pad_id)
    mask_BT = torch.zeros_like(ids_BT)
    for row, ids in enumerate(prompts):
        ids_BT[row, width - len(ids) :] = torch.tensor(ids)
        mask_BT[row, width - len(ids) :] = 1
    return ids_BT.to(device), mask_BT.to(device)


def _processors(decoding: Decoding, draws_BT: Tensor | None, width: int) -> LogitsProcessorList:
    if draws_BT is None:
        return LogitsProcessorList()
    sampling = SeededSampling(draws_BT, width, decoding.temperature, decoding.top_p)
    return LogitsProcessorList([sampling])


def _up_to_stop(ids: list[int], stop_ids: list[int]) -> list[int]:
    stop = next((place for place, token in enumerate(ids) if token in stop_ids), None)
    return ids if stop is None else ids[: stop + 1]
