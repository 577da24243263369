"""A batch of responses, token by token, whose finished rows are given to those that wait.

When a quarter of the rows is free, the next prompts are read together and their rows are joined
with those under way; columns that no row needs any more are dropped. In groups, because joining
copies the cache. A quarter is our choice.

transformers' own continuous batching (``generate_batch``, 5.23) gives the same greedy tokens, on
the CPU too, and is not used: it took more CPU time than this (``tests/benchmarks/generation.py``
prints both), draws from a generator of its own, and knows no deadline.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from nt_lightning.evaluation.cache_rows import has_rows, join_rows
from nt_lightning.evaluation.rows import Row, Work, left_padded

_ARGUMENTS = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


@dataclass(frozen=True)
class Batch:
    """Rows under way and those that have ended since the last exchange.

    Args:
        rows: The rows; their last token is not in the cache yet.
        cache: Keys and values, aligned to the right.
        starts: Columns of the cache in front of each row that are not its own.
    """

    rows: list[Row]
    cache: Cache
    starts: list[int]

    @property
    def kept(self) -> list[int]:
        """Places of the rows that go on."""
        return [place for place, row in enumerate(self.rows) if not row.is_done]


def can_refill(model: Any, inner: Any) -> bool:
    """Whether rows of the model's cache can be exchanged; one token is read to see it.

    Args:
        model: What is called.
        inner: The Hugging Face model itself, whose ``forward`` names its arguments.
    """
    if not set(inspect.signature(inner.forward).parameters) >= _ARGUMENTS:
        return False
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    return has_rows(_forward(model, ids, torch.ones_like(ids), ids).past_key_values, 1)


def decode_refilling(model: Any, work: Work, batch_size: int) -> None:
    """Finish all rows of the work, or as many as its limits allow.

    Args:
        model: Model in eval mode for which ``can_refill`` holds.
        work: Rows that wait.
        batch_size: Rows at a time.
    """
    batch: Batch | None = None
    while not work.is_over:
        kept = batch.kept if batch else []
        if not kept:
            batch = None  # its cache is not needed while others are read
        if batch is None and not work.waiting:
            return
        wanted = len(batch.rows) if batch and not work.waiting else batch_size
        if 4 * (wanted - len(kept)) >= wanted:
            batch = _exchange(model, work, batch, work.take(wanted - len(kept)))
        elif batch:
            _step(model, work, batch)


def _exchange(model: Any, work: Work, batch: Batch | None, new: list[Row]) -> Batch | None:
    """Drop what has ended, read what is new."""
    sources = [batch] if batch else []
    if new:
        sources.append(_read(model, work, new))
    rows = [source.rows[place] for source in sources for place in source.kept]
    if not rows:
        return None
    width = max(row.length for row in rows) - 1
    parts = [(source.cache, source.kept) for source in sources if source.kept]
    return Batch(rows, join_rows(parts, width), [width - row.length + 1 for row in rows])


def _read(model: Any, work: Work, rows: list[Row]) -> Batch:
    """The cache of new rows, and their first token."""
    ids_BT, mask_BT = left_padded(rows, model.device)
    positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
    output = _forward(model, ids_BT, mask_BT, positions_BT)
    work.append(rows, work.choose(rows, output.logits[:, -1]).tolist())
    return Batch(rows, output.past_key_values, [])


def _step(model: Any, work: Work, batch: Batch) -> None:
    """One more token for every row."""
    rows, device = batch.rows, model.device
    width = batch.cache.get_seq_length() + 1
    starts_B1 = torch.tensor(batch.starts, device=device)[:, None]
    mask_BT = (torch.arange(width, device=device) >= starts_B1).long()
    ids_B1 = torch.tensor([row.ids[-1:] for row in rows], device=device)
    # A row that has ended stays where it is: the model may know no further position.
    positions_B1 = torch.tensor([[row.length - 1] for row in rows], device=device)
    output = _forward(model, ids_B1, mask_BT, positions_B1, batch.cache)
    work.append(rows, work.choose(rows, output.logits[:, -1]).tolist())


def _forward(
    model: Any, ids_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor, cache: Cache | None = None
) -> Any:
    """The model's output; the head sees the last position alone."""
    return model(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        position_ids=positions_BT,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
