"""Sampling whose randomness belongs to the response, not to the batch or to a global generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class SeededSampling(LogitsProcessor):
    """Temperature and nucleus sampling by one uniform number per row and step.

    It leaves one token per row to the greedy search behind it. What a response becomes does not
    depend on its neighbours in the batch (but for rounding), and no generator is touched.

    Args:
        draws_BT: Uniform numbers in [0, 1), float32, a row per response, a column per new token.
        prompt_length: Columns of ``input_ids`` in front of the first new token.
        temperature: Divides the logits; above 0.
        top_p: The smallest set of likeliest tokens with at least this much probability is kept;
            in (0, 1], 1 keeps all.
    """

    def __init__(
        self, draws_BT: Tensor, prompt_length: int, temperature: float, top_p: float
    ) -> None:
        self.draws_BT = draws_BT
        self.prompt_length = prompt_length
        self.temperature = temperature
        self.top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] in which the drawn token has 0 and all others have -inf."""
        probs_BV = torch.softmax(scores.float() / self.temperature, dim=-1)
        draw_B1 = self.draws_BT[:, input_ids.shape[1] - self.prompt_length, None].double()
        if self.top_p < 1:
            probs_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
            cumulative_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
            kept_BV = cumulative_BV - probs_BV < self.top_p
            draw_B1 = draw_B1 * (probs_BV.double() * kept_BV).sum(dim=-1, keepdim=True)
            rank_B1 = torch.searchsorted(cumulative_BV, draw_B1, right=True)
            token_B1 = order_BV.gather(1, rank_B1.clamp(max=scores.shape[1] - 1))
        else:
            cumulative_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
            draw_B1 = draw_B1 * cumulative_BV[:, -1:]
            token_B1 = torch.searchsorted(cumulative_BV, draw_B1, right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, token_B1, 0.0)


def uniform_draws(seed: int, keys: Sequence[str], count: int) -> Tensor:
    """Uniform numbers in [0, 1), [len(keys), count], each row from (seed, key) alone."""
    rows = []
    for key in keys:
        digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        rows.append(torch.rand(count, generator=generator))
    return torch.stack(rows)
