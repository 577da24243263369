"""Sampling whose randomness belongs to the response, not to the batch or to a global generator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
    with _sums_allowed():
        return _sample(logits_BV, draws, temperature, top_p)


def _sample(logits_BV: Tensor, draws: Sequence[float], temperature: float, top_p: float) -> Tensor:
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


@contextmanager
def _sums_allowed() -> Iterator[None]:
    """Put ``torch.use_deterministic_algorithms`` aside, under which CUDA refuses running sums.

    What may vary there is how float64 is rounded (1e-16), and draws are 2**-24 apart.
    """
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)


def uniform_draws(seed: int, key: str, count: int) -> list[float]:
    """Uniform numbers in [0, 1), float32, from (seed, key) alone; more of them begin the same."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(count, generator=generator).tolist()  # type: ignore[no-any-return]
