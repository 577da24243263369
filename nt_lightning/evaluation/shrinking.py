"""Batches whose rows leave and are not replaced, for models whose cache cannot be joined.

transformers' own ``generate`` knows how to feed sliding windows, recurrent states and models
without a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from nt_lightning.evaluation.rows import Row, Work, left_padded


def decode_shrinking(model: Any, work: Work, batch_size: int) -> None:
    """Finish all rows of the work, or as many as its limits allow, a batch after the other.

    Args:
        model: Hugging Face model in eval mode.
        work: Rows that wait.
        batch_size: Rows at a time.
    """
    while work.waiting and not work.is_over:
        _decode_batch(model, work, work.take(batch_size))


def _decode_batch(model: Any, work: Work, rows: list[Row]) -> None:
    """Whenever half of the rows have ended, the others go on without them.

    Rows of ids, mask and cache are dropped, nothing is computed again.
    """
    ids_BT, mask_BT = left_padded(rows, model.device)
    cache = None
    while rows:
        watch = _Watch(work, rows)
        output = model.generate(
            ids_BT,
            attention_mask=mask_BT,
            past_key_values=cache,
            generation_config=_config(work, rows),
            logits_processor=LogitsProcessorList([_Choice(work, rows)]),
            stopping_criteria=StoppingCriteriaList([watch]),
        )
        left = [] if watch.is_over else [i for i, row in enumerate(rows) if not row.is_done]
        kept = torch.tensor(left, dtype=torch.long, device=model.device)
        rows = [rows[place] for place in left]
        added = output.sequences.shape[1] - mask_BT.shape[1]
        ids_BT = output.sequences[kept]
        mask_BT = torch.nn.functional.pad(mask_BT[kept], (0, added), value=1)
        cache = output.past_key_values
        if cache is not None and rows:  # a model without a cache reads everything again
            cache.batch_select_indices(kept)


def _config(work: Work, rows: Sequence[Row]) -> GenerationConfig:
    """Greedy search, for ``_Choice`` leaves one token; ``_Watch`` alone ends it."""
    return GenerationConfig(
        max_new_tokens=max(row.max_new_tokens - len(row.ids) for row in rows),
        do_sample=False,
        num_beams=1,
        use_cache=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )


class _Choice(LogitsProcessor):
    """Scores [B, V] in which the chosen token has 0 and all others have -inf."""

    def __init__(self, work: Work, rows: Sequence[Row]) -> None:
        self.work, self.rows = work, rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen_B = self.work.choose(self.rows, scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen_B[:, None], 0.0)


class _Watch(StoppingCriteria):
    """After every token: add it to the rows, and end the pass when half of them have ended."""

    def __init__(self, work: Work, rows: Sequence[Row]) -> None:
        self.work, self.rows = work, rows
        self.is_over = False

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """True for all rows at the end of the pass."""
        self.work.append(self.rows, input_ids[:, -1].tolist())
        self.is_over = self.work.is_over
        enough = 2 * sum(row.is_done for row in self.rows) >= len(self.rows)
        return torch.full((len(self.rows),), self.is_over or enough, device=input_ids.device)
