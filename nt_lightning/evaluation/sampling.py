"""Sampling whose randomness belongs to the response, not to the batch or to a global generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def sample(
    logits_BV: Tensor, draws: Sequence[float], *, temperature: float, top_p: float
) -> Tensor:
    """Temperature and nucleus sampling by one uniform number per row; token ids [B].

    What a response becomes does not depend on its neighbours in the batch (but for rounding), and
    no generator is touched.

    Args:
        logits_BV: Logits of the next token, any float dtype; computed in float32.
        draws: A uniform number in [0, 1) per row.
        temperature: Divides the logits; above 0.
        top_p: The smallest set of likeliest tokens with at least this much probability is kept;
            in (0, 1], 1 keeps all.
    """
    probs_BV = torch.softmax(logits_BV.float() / temperature, dim=-1)
    draw_B1 = torch.tensor(draws, dtype=torch.float64, device=logits_BV.device)[:, None]
    last = logits_BV.shape[1] - 1
    if top_p == 1:
        cumulative_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
        draw_B1 = draw_B1 * cumulative_BV[:, -1:]
        return torch.searchsorted(cumulative_BV, draw_B1, right=True).clamp(max=last)[:, 0]
    probs_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
    cumulative_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
    kept_BV = cumulative_BV - probs_BV < top_p
    draw_B1 = draw_B1 * (probs_BV.double() * kept_BV).sum(dim=-1, keepdim=True)
    rank_B1 = torch.searchsorted(cumulative_BV, draw_B1, right=True)
    return order_BV.gather(1, rank_B1.clamp(max=last))[:, 0]


def uniform_draws(seed: int, key: str, count: int) -> list[float]:
    """Uniform numbers in [0, 1), float32, from (seed, key) alone; more of them begin the same."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(count, generator=generator).tolist()  # type: ignore[no-any-return]
