"""Attention of many runs behind one shared prefix, registered with transformers.

On the CPU each run is one call of scaled dot-product attention with the prefix's keys in front of
its own; on CUDA one FlexAttention call with a block mask serves the row. Neither has a T x T mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nt_lightning.student.attention import attend

NT_RUNS = "nt_runs"
CHUNK = 256  # queries at a time, our choice: what lies above the diagonal is computed in vain


class Segment(NamedTuple):
    """A prefix and the runs behind it, in tokens; they stand one after the other in the row."""

    prefix: int
    runs: tuple[int, ...]

    @property
    def longest(self) -> int:
        """Tokens of the prefix and its longest run."""
        return self.prefix + max(self.runs, default=0)


class RunLayout:
    """How a packed row is cut into segments, with the masks that all layers share.

    Args:
        segments: In the row's order.
    """

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments
        self.longest = max(segment.longest for segment in segments)
        self._cache: dict[Any, Any] = {}

    def band(self, window: int | None, device: torch.device) -> Tensor:
        """What CHUNK queries may see: [CHUNK, longest + CHUNK], true is visible.

        Query i stands at column ``longest + i``. A mask for any chunk of any run is a slice of it.
        """
        if ("band", window) not in self._cache:
            chunk = min(CHUNK, self.longest)
            queries = torch.arange(chunk, device=device)[:, None] + self.longest
            keys = torch.arange(self.longest + chunk, device=device)[None]
            visible = keys <= queries
            if window is not None:
                visible &= keys > queries - window
            self._cache["band", window] = visible
        return self._cache["band", window]

    def block_mask(self, window: int | None, device: torch.device) -> Any:
        """FlexAttention's block mask; no token pair outside it is computed."""
        if ("block", window) not in self._cache:
            from torch.nn.attention.flex_attention import create_block_mask

            index = self.index(device)
            size = index.shape[1]
            self._cache["block", window] = create_block_mask(
                visible(index, window),
                None,
                None,
                size,
                size,
                device,
                _compile=device.type != "cpu",
            )
        return self._cache["block", window]

    def index(self, device: torch.device) -> Tensor:
        """Segment, run (0: the prefix) and position of every token, [3, R] int32."""
        parts = []
        for number, (prefix, runs) in enumerate(self.segments):
            for run, length in enumerate((prefix, *runs)):
                positions = torch.arange(length) + (prefix if run else 0)
                who = torch.tensor([[number], [run]]).expand(2, length)
                parts.append(torch.cat([who, positions[None]]))
        return torch.cat(parts, dim=1).to(device, torch.int32)


def visible(index: Tensor, window: int | None) -> Callable[..., Tensor]:
    """FlexAttention's ``mask_mod`` of a row.

    A token sees its segment's prefix and its own run, up to itself and at most ``window`` tokens
    back by position: distances in the row mean nothing, positions are those of the run alone.

    Args:
        index: ``RunLayout.index``, [3, R].
        window: Sliding window of the layer.
    """
    segment, run, position = index

    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = (segment[query] == segment[key]) & ((run[query] == run[key]) | (run[key] == 0))
        distance = position[query] - position[key]
        seen = same & (distance >= 0)
        return seen if window is None else seen & (distance < window)

    return mask


def nt_runs(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    run_layout: RunLayout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of every run to its segment's prefix and to itself, causally.

    Args:
        module: The attention layer.
        query: [1, heads, R, head_dim].
        key: [1, key heads, R, head_dim].
        value: [1, key heads, R, head_dim].
        attention_mask: Must be ``None``.
        scaling: Factor of the scores.
        run_layout: The row's segments; without it the row is one prefix.
        sliding_window: A token sees itself and the ``sliding_window - 1`` before it.
        softcap: Cap of the scores.

    Returns:
        [1, R, heads, head_dim], and ``None`` for the weights.

    Raises:
        ValueError: More than one row, or a mask.
    """
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("nt_runs takes one packed row and no attention mask")
    layout = run_layout or RunLayout((Segment(query.shape[2], ()),))
    if query.is_cuda:
        return _flex(query, key, value, layout, scaling, sliding_window, softcap), None
    return _per_run(query, key, value, layout, scaling, sliding_window, softcap), None


def register() -> None:
    """Make ``nt_runs`` known to transformers; safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(NT_RUNS, nt_runs)


def _per_run(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: RunLayout,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Scaled dot-product attention run by run, [1, R, heads, head_dim].

    In float32: in bfloat16 every new length costs kernels that oneDNN compiles and keeps.
    """
    dtype = query.dtype
    query, key, value = query.float(), key.float(), value.float()
    _, heads, total, width = query.shape
    out = query.new_empty(1, total, heads, width)
    band = layout.band(window, query.device)
    groups = heads // key.shape[1]
    begin = 0
    for prefix, runs in layout.segments:
        shared = slice(begin, begin + prefix)
        for number, length in enumerate((prefix, *runs)):
            own = slice(begin, begin + length)
            behind = prefix if number else 0
            if behind and begin != shared.stop:
                keys = torch.cat([key[:, :, shared], key[:, :, own]], dim=2)
                values = torch.cat([value[:, :, shared], value[:, :, own]], dim=2)
            else:  # they stand side by side already
                both = slice(begin - behind, begin + length)
                keys, values = key[:, :, both], value[:, :, both]
            for start in range(0, length, CHUNK):
                end = min(start + CHUNK, length)
                rows = slice(begin + start, begin + end)
                stop = behind + end
                first = 0 if window is None else max(0, behind + start - window + 1)
                mask = _slice(band, layout.longest, behind + start, first, stop)
                part = (keys[:, :, first:stop], values[:, :, first:stop], mask)
                done = attend(query[:, :, rows], *part, groups, scaling, 0.0, softcap)
                out[:, rows] = done.transpose(1, 2)
            begin += length
    return out.to(dtype)


def _slice(band: Tensor, longest: int, query: int, first: int, stop: int) -> Tensor:
    """The mask of queries ``[query, stop)`` and keys ``[first, stop)``, by position."""
    shift = longest - query
    return band[: stop - query, first + shift : stop + shift]


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: RunLayout,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """FlexAttention over the row, [1, R, heads, head_dim]; compiled on CUDA."""
    if torch.is_autocast_enabled(query.device.type):  # RoPE has made float32 of query and key
        half = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(half), key.to(half), value.to(half)
    done = _kernel(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else _capped(softcap),
        block_mask=layout.block_mask(window, query.device),
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return done.transpose(1, 2)


@cache
def _kernel(device_type: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device_type == "cpu" else torch.compile(flex_attention, dynamic=True)


@cache
def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap
