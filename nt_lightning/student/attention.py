"""Attention per trace: which kernel runs, and the one that runs everywhere.

``nt_varlen`` is registered with transformers. It never builds a T x T mask: on CUDA it calls
torch's varlen kernel, elsewhere scaled dot-product attention on each trace by itself.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger(__name__)
NT_VARLEN = "nt_varlen"


class Backend(NamedTuple):
    """An attention implementation's name in transformers, and why it was chosen."""

    name: str
    why: str


def choose_backend(
    device_type: str, dtype: torch.dtype, *, softcap: bool = False, capability: int = 0
) -> Backend:
    """The fastest attention that keeps traces apart on this device.

    Args:
        device_type: ``cpu``, ``cuda`` or another.
        dtype: What attention computes in.
        softcap: The model caps its attention scores (Gemma 2), which torch's kernels cannot.
        capability: Major compute capability of the GPU.
    """
    if device_type != "cuda":
        return Backend(NT_VARLEN, f"per-trace SDPA, the exact one on {device_type}")
    if dtype not in (torch.float16, torch.bfloat16):
        return Backend(NT_VARLEN, f"per-trace SDPA: flash kernels do not take {dtype}")
    if capability >= 9 and _has("flash_attn_interface") and not softcap:
        return Backend("flash_attention_3", "flash-attn 3 is installed")
    if capability >= 8 and _has("flash_attn"):
        return Backend("flash_attention_2", "flash-attn 2 is installed")
    if softcap:
        return Backend(NT_VARLEN, "per-trace, in PyTorch: attention softcap without flash-attn")
    if capability >= 8:
        return Backend(NT_VARLEN, "torch varlen kernel: flash-attn is not installed")
    return Backend(NT_VARLEN, f"per-trace SDPA: compute capability {capability} is below 8")


def backend_for(model: Any, device: torch.device, dtype: torch.dtype) -> Backend:
    """``choose_backend`` for a model on a device; one log line says which and why."""
    config = model.config.get_text_config()
    capability = torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0
    softcap = getattr(config, "attn_logit_softcapping", None) is not None
    backend = choose_backend(device.type, dtype, softcap=softcap, capability=capability)
    log.info("attention: %s (%s)", backend.name, backend.why)
    return backend


def padded_backend(model: Any) -> str:
    """The attention for padded batches, as generation makes them: masks count there."""
    return "sdpa" if model._supports_sdpa else "eager"


def nt_varlen(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each trace of one packed row.

    Args:
        module: The attention layer.
        query: [1, heads, T, head_dim].
        key: [1, key heads, T, head_dim].
        value: [1, key heads, T, head_dim].
        attention_mask: Must be ``None``: the traces' borders say everything.
        scaling: Factor of the scores.
        dropout: Probability, in training.
        cu_seq_lens_q: Cumulative lengths [S + 1], int32; without them the row is one trace.
        max_length_q: Longest trace.
        sliding_window: A token sees itself and the ``sliding_window - 1`` before it.
        softcap: Cap of the scores.

    Returns:
        [1, T, heads, head_dim], and ``None`` for the weights.

    Raises:
        ValueError: More than one row, or a mask.
    """
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("nt_varlen takes one packed row and no attention mask")
    total = query.shape[2]
    if cu_seq_lens_q is None:
        borders = torch.tensor([0, total], dtype=torch.int32, device=query.device)
    else:
        borders = cu_seq_lens_q
    longest = total if max_length_q is None else int(max_length_q)
    if query.is_cuda and torch.is_autocast_enabled("cuda"):
        # under autocast RoPE has made float32 of query and key
        half = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(half), key.to(half), value.to(half)
    if _varlen_kernel_fits(query, dropout, softcap):
        return _torch_varlen(query, key, value, borders, longest, scaling, sliding_window), None
    dtype = query.dtype
    if not query.is_cuda:  # torch's half-precision CPU kernel has a backward pass 2.6 x slower
        query, key, value = query.float(), key.float(), value.float()
    ends = borders.tolist()
    groups = query.shape[1] // key.shape[1]
    parts = []
    with torch.autocast(query.device.type, enabled=False):  # it would cast back
        for start, end in zip(ends, ends[1:], strict=False):
            segment = (query[:, :, start:end], key[:, :, start:end], value[:, :, start:end])
            parts.append(_one_trace(*segment, groups, scaling, dropout, sliding_window, softcap))
    return torch.cat(parts, dim=2).transpose(1, 2).to(dtype), None


def register() -> None:
    """Make ``nt_varlen`` known to transformers; safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(NT_VARLEN, nt_varlen)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _varlen_kernel_fits(query: Tensor, dropout: float, softcap: float | None) -> bool:
    half = query.dtype in (torch.float16, torch.bfloat16)
    if not (query.is_cuda and half and dropout == 0.0 and softcap is None):
        return False
    return torch.cuda.get_device_capability(query.device)[0] >= 8


def _torch_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    borders: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    flat_query, flat_key, flat_value = (
        x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)
    )
    out = varlen_attn(
        flat_query,
        flat_key,
        flat_value,
        borders,
        borders,
        longest,
        longest,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
        window_size=(-1, 0) if window is None else (window - 1, 0),
    )
    return out[None]  # type: ignore[call-overload]


def _one_trace(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: int,
    scaling: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Attention of one trace, [1, heads, L, head_dim]; a window costs O(L x window)."""
    length = query.shape[2]
    if window is None or length <= window:
        return attend(query, key, value, None, groups, scaling, dropout, softcap)
    band = _band(window, query.device)
    parts = []
    for start in range(0, length, window):
        first, end = max(0, start - window), min(start + window, length)
        mask = band[: end - start, window - (start - first) : window + end - start]
        block = (query[:, :, start:end], key[:, :, first:end], value[:, :, first:end])
        parts.append(attend(*block, mask, groups, scaling, dropout, softcap))
    return torch.cat(parts, dim=2)


def _band(window: int, device: torch.device) -> Tensor:
    """[window, 2 * window]: query i stands at column ``window + i`` and sees the window before."""
    queries = torch.arange(window, device=device)[:, None] + window
    keys = torch.arange(2 * window, device=device)[None]
    return (keys <= queries) & (keys > queries - window)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    groups: int,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
) -> Tensor:
    """Scaled dot-product attention of some queries to some keys, [1, heads, Lq, head_dim].

    Args:
        query: [1, heads, Lq, head_dim].
        key: [1, heads / groups, Lk, head_dim].
        value: [1, heads / groups, Lk, head_dim].
        mask: What each query sees, bool [Lq, Lk]; ``None`` is causal, with Lq = Lk.
        groups: Query heads that share a key head.
        scaling: Factor of the scores; ``None`` is ``head_dim ** -0.5``.
        dropout: Probability, in training.
        softcap: Cap of the scores, which torch's kernels do not know.
    """
    if softcap is None:
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=groups > 1,
        )
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh((query @ key.transpose(-1, -2)) * scale / softcap)
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
    return F.dropout(weights.to(query.dtype), dropout) @ value
