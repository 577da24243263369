"""Log-probabilities and ranks of scored tokens; the logits of few of them exist at one time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nt_lightning.student.loss import CHUNK, Head

# Our choice, measured: the logits of a tile stay in the cache. A rank needs all words at once, so
# those rows are fewer.
CPU_RANKED_ROWS = 128
CPU_TILE = (1024, 1024)


class TokenScores(NamedTuple):
    """What a student thinks of tokens."""

    log_probs: Tensor  # float32 [N], nats
    ranks: Tensor  # int64 [num_ranked], 1 + number of words that are more likely


@torch.no_grad()
def token_scores(
    hidden: Tensor,
    sources: Tensor,
    targets: Tensor,
    head: Head,
    num_ranked: int = 0,
    tile: tuple[int, int] | None = None,
) -> TokenScores:
    """Log-probability of every target in float32, and the rank of the first ``num_ranked``.

    Logits of a student in half precision are float32, since ties by rounding would flatter the
    ranks: CUDA multiplies so; elsewhere its head is converted, once a call.

    Args:
        hidden: Final hidden states of a row, [R, D], any float dtype.
        sources: Position of the state that predicts each target, [N].
        targets: Token ids, [N].
        head: The model's own output head.
        num_ranked: How many of the first targets get a rank.
        tile: Targets and words whose logits exist at one time; by default what suits the device.
    """
    cpu = hidden.device.type == "cpu"
    rows, words = tile or (CPU_TILE if cpu else (CHUNK, len(head.weight)))
    ranked_rows = min(rows, CPU_RANKED_ROWS) if cpu else rows
    if hidden.device.type != "cuda":  # which alone multiplies half precision into float32
        hidden = hidden.float()
    head = head._replace(weight=head.weight.to(hidden.dtype))
    log_probs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    ranks = torch.empty(num_ranked, dtype=torch.int64, device=hidden.device)
    size = _tile_size(num_ranked, ranked_rows, len(targets), rows, words, head)
    memory = torch.empty(size, dtype=torch.float32, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        for part in _slices(0, num_ranked, ranked_rows):
            found = _ranked(hidden[sources[part]], targets[part], head, memory)
            log_probs[part], ranks[part] = found
        for part in _slices(num_ranked, len(targets), rows):
            states = hidden[sources[part]]
            log_probs[part] = _log_probs(states, targets[part], head, words, memory)
    return TokenScores(log_probs, ranks)


def _slices(start: int, end: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, end)) for at in range(start, end, size)]


def _tile_size(
    num_ranked: int, ranked_rows: int, num_targets: int, rows: int, words: int, head: Head
) -> int:
    """Logits that exist at one time."""
    size = len(head.weight)
    ranked = min(num_ranked, ranked_rows) * size
    return max(ranked, min(num_targets - num_ranked, rows) * min(words, size))


def _ranked(states: Tensor, targets: Tensor, head: Head, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and ranks, [n] each; all words at once."""
    logits = _logits(states, head, slice(None), memory)
    wanted = logits.gather(1, targets[:, None])
    ranks = 1 + (logits > wanted).sum(dim=1)
    return wanted.squeeze(1) - _logsumexp_(logits), ranks


def _log_probs(states: Tensor, targets: Tensor, head: Head, words: int, memory: Tensor) -> Tensor:
    """Log-probabilities, [n]; some words at a time."""
    wanted = states.new_zeros(len(targets), dtype=torch.float32)
    total = torch.full_like(wanted, float("-inf"))
    for first in range(0, len(head.weight), words):
        logits = _logits(states, head, slice(first, first + words), memory)
        place = targets - first
        inside = (place >= 0) & (place < logits.shape[1])
        found = logits.gather(1, place.clamp(0, logits.shape[1] - 1)[:, None]).squeeze(1)
        wanted = torch.where(inside, found, wanted)
        total = torch.logaddexp(total, _logsumexp_(logits))
    return wanted - total


def _logits(states: Tensor, head: Head, words: slice, memory: Tensor) -> Tensor:
    """``head.logits`` of some words in float32, [n, words], in ``memory``."""
    weight = head.weight[words]
    logits = memory[: len(states) * len(weight)].view(len(states), len(weight))
    if states.dtype == torch.float32:
        torch.mm(states, weight.T, out=logits)
    else:
        torch.mm(states, weight.T, out_dtype=torch.float32, out=logits)
    if head.bias is not None:
        logits += head.bias[words].float()
    if head.scale != 1.0:
        logits *= head.scale
    if head.softcap is not None:
        logits.div_(head.softcap).tanh_().mul_(head.softcap)
    return logits


def _logsumexp_(logits: Tensor) -> Tensor:
    """Log of the sum of exponentials, [n]; the logits [n, V] are overwritten."""
    top = logits.amax(dim=1, keepdim=True)
    return logits.sub_(top).exp_().sum(dim=1).log_().add_(top.squeeze(1))
