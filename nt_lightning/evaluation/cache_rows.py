"""Caches of keys and values whose rows can be exchanged while they are in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # columns that are allocated ahead, so that a token does not copy the whole cache


class RowLayer(DynamicLayer):
    """Keys and values [B, heads, T, dim] of one layer, written in place.

    Args:
        parts: Keys and values of the rows, in groups of different widths, all aligned to the right.
        width: Columns that are kept; narrower groups are padded with zeros on the left.
    """

    def __init__(self, parts: Sequence[tuple[Tensor, Tensor]], width: int) -> None:
        super().__init__()
        self._buffers = [_aligned([part[kind] for part in parts], width) for kind in (0, 1)]
        self.dtype, self.device = self._buffers[0].dtype, self._buffers[0].device
        self._show(width)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new columns behind the others; all keys and all values."""
        begin, end = self._width, self._width + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._buffers = [_widened(buffer, begin, end) for buffer in self._buffers]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = new
        self._show(end)
        return self.keys, self.values  # type: ignore[return-value]

    def reset(self) -> None:
        """Give the memory back."""
        self._buffers = []
        super().reset()

    def _show(self, width: int) -> None:
        self._width = width
        self.keys, self.values = (buffer[:, :, :width] for buffer in self._buffers)


def has_rows(cache: object, num_rows: int) -> bool:
    """Whether a cache holds nothing but full keys and values, so that rows can be exchanged.

    Sliding windows, recurrent states, shared layers and models without a cache are told by the
    classes of their layers.
    """
    if not isinstance(cache, DynamicCache) or not cache.layers:
        return False
    return all(
        type(layer) is DynamicLayer
        and layer.keys is not None
        and layer.keys.ndim == 4
        and len(layer.keys) == num_rows
        for layer in cache.layers
    )


def join_rows(parts: Sequence[tuple[Cache, Sequence[int]]], width: int) -> Cache:
    """One cache from some rows of others, which are emptied layer by layer.

    Args:
        parts: Caches and which of their rows to take.
        width: Columns that are kept, at the right; all that any of the rows needs.
    """
    layers: list[Any] = []
    for group in zip(*(cache.layers for cache, _ in parts), strict=True):
        kept = []
        for layer, (_, rows) in zip(group, parts, strict=True):
            index = torch.tensor(rows, device=layer.keys.device)
            keys, values = (x[:, :, -width:] for x in (layer.keys, layer.values))
            kept.append((keys.index_select(0, index), values.index_select(0, index)))
            layer.reset()
        layers.append(RowLayer(kept, width))
    return Cache(layers=layers)


def _aligned(parts: Sequence[Tensor], width: int) -> Tensor:
    _, heads, _, dim = parts[0].shape
    buffer = parts[0].new_zeros(sum(map(len, parts)), heads, width + _ROOM, dim)
    first = 0
    for part in parts:
        buffer[first : first + len(part), :, width - part.shape[2] : width] = part
        first += len(part)
    return buffer


def _widened(buffer: Tensor, width: int, needed: int) -> Tensor:
    rows, heads, _, dim = buffer.shape
    wider = buffer.new_empty(rows, heads, needed + _ROOM, dim)
    wider[:, :, :width] = buffer[:, :, :width]
    return wider
