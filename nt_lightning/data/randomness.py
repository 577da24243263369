"""Randomness per trace, from (seed, id): the same for any order, shards or processes."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def uniform_from_ids(
    ids: pa.ChunkedArray | list[str], seed: int, purpose: str
) -> npt.NDArray[np.float64]:
    """One uniform number in [0, 1) per id, independent between purposes.

    Args:
        ids: Trace ids, [N].
        seed: The run's seed.
        purpose: What is drawn, such as ``"mixing"``; another purpose gives other numbers.

    Returns:
        float64 [N], a function of (seed, purpose, id) alone.
    """
    from pandas.util import hash_array

    key = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).hexdigest()
    values = np.asarray(ids.to_pylist() if isinstance(ids, pa.ChunkedArray) else ids, dtype=object)
    hashed = hash_array(values, hash_key=key, categorize=False)
    return (hashed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def seed_of_part(seed: int, number: int) -> int:
    """A seed for a part of a composition, independent of the others' and of the whole's."""
    return int(hashlib.blake2b(f"{seed}/part {number}".encode(), digest_size=4).hexdigest(), 16)
