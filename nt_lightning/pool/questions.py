"""The distinct questions of a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.traces.pool import QUESTION_KEY, Pool, take_rows

Rows = npt.NDArray[np.int64]


def first_rows(pool: Pool) -> Rows:
    """The first row of each distinct question, ascending."""
    keys = pool.read([QUESTION_KEY])[QUESTION_KEY].to_numpy().astype("U16")
    return np.sort(np.unique(keys, return_index=True)[1])


def rows_of_shards(pool: Pool, rows: Rows, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some rows of each shard, one shard in memory at a time.

    Args:
        pool: The pool.
        rows: Which rows, ascending.
        columns: What is read of them.
    """
    for start, shard in pool.shards(columns):
        low, high = np.searchsorted(rows, [start, start + shard.num_rows])
        yield take_rows(shard, rows[low:high] - start)
