"""Columns of lists, such as the strategies of each trace, without a Python loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.plan import Ints

PIECE = 2**16


class Pairs(NamedTuple):
    """Every (list, value) that occurs, once.

    Args:
        rows: Which list of the piece, ascending.
        codes: Which of ``values``.
        values: The different values, nulls left out.
        size: Lists in the piece.
    """

    rows: Ints
    codes: Ints
    values: list[str]
    size: int


def distinct_pairs(lists: pa.ChunkedArray) -> Iterator[Pairs]:
    """The different values of each list, piece by piece, since there are many texts in all."""
    for chunk in lists.chunks:
        for start in range(0, len(chunk), PIECE):
            yield _distinct_pairs(chunk.slice(start, PIECE))


def num_different(lists: pa.ChunkedArray) -> Ints:
    """Different values in each list; 0 for null."""
    counts = [np.bincount(found.rows, minlength=found.size) for found in distinct_pairs(lists)]
    return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)


def _distinct_pairs(lists: pa.ListArray) -> Pairs:
    encoded = lists.flatten().dictionary_encode()
    known = encoded.is_valid().to_numpy(zero_copy_only=False)
    codes = encoded.indices.fill_null(0).to_numpy().astype(np.int64)[known]
    rows = pc.list_parent_indices(lists).to_numpy().astype(np.int64)[known]
    kinds = max(len(encoded.dictionary), 1)
    pairs = np.sort(rows * kinds + codes)
    new = np.ones(len(pairs), dtype=bool)
    new[1:] = pairs[1:] != pairs[:-1]
    rows, codes = np.divmod(pairs[new], kinds)
    return Pairs(rows, codes, encoded.dictionary.to_pylist(), len(lists))
