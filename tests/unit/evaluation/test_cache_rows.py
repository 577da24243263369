"""Rows of a cache that are taken, joined and written in place, against plain concatenation."""

from __future__ import annotations

import pytest
import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from nt_lightning.evaluation.cache_rows import has_rows, join_rows

LAYERS, HEADS, DIM = 2, 3, 4


def filled(num_rows: int, width: int, seed: int) -> DynamicCache:
    """Keys of dimension 4 and values of dimension 5."""
    generator = torch.Generator().manual_seed(seed)
    cache = DynamicCache()
    for layer in range(LAYERS):
        keys, values = (
            torch.randn(num_rows, HEADS, width, dim, generator=generator) for dim in (DIM, DIM + 1)
        )
        cache.update(keys, values, layer)
    return cache


def copy_of(cache: Cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers]


@pytest.mark.parametrize("width", [3, 7, 9])
def test_rows_are_joined_at_their_right_ends(width: int) -> None:
    """Narrower rows get zeros on the left, wider ones lose what nobody needs."""
    first, second = filled(4, 7, 1), filled(2, 3, 2)
    before = copy_of(first), copy_of(second)
    joined = join_rows([(first, [3, 1]), (second, [0])], width)
    assert joined.get_seq_length() == width
    for layer in range(LAYERS):
        for kind, got in enumerate((joined.layers[layer].keys, joined.layers[layer].values)):
            rows = [before[0][layer][kind][3], before[0][layer][kind][1], before[1][layer][kind][0]]
            wide = [torch.nn.functional.pad(row, (0, 0, 20, 0))[:, -width:] for row in rows]
            assert torch.equal(got, torch.stack(wide))
    assert all(layer.keys is None for cache in (first, second) for layer in cache.layers)


def test_columns_are_added_as_by_concatenation() -> None:
    plain = filled(3, 5, 1)
    rows = join_rows([(filled(3, 5, 1), [0, 1, 2])], 5)
    generator = torch.Generator().manual_seed(3)
    for count in [1] * 150 + [90, 1]:
        new = [torch.randn(3, HEADS, count, dim, generator=generator) for dim in (DIM, DIM + 1)]
        for layer in range(LAYERS):
            expected = plain.update(*new, layer)
            got = rows.update(*new, layer)
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert rows.get_seq_length() == plain.get_seq_length() == 5 + 150 + 91
    again = join_rows([(rows, [2])], 4)
    assert torch.equal(again.layers[1].keys, plain.layers[1].keys[2:, :, -4:])
    assert has_rows(again, 1) is False  # what a model itself returns is asked about


def test_what_has_rows() -> None:
    assert has_rows(filled(3, 5, 1), 3)
    assert not has_rows(filled(3, 5, 1), 2)
    assert not has_rows(None, 1)
    assert not has_rows(DynamicCache(), 1)
    mixed = filled(1, 5, 1)
    mixed.layers[1] = DynamicSlidingWindowLayer(sliding_window=8)
    assert not has_rows(mixed, 1)
