"""Millions of hashes looked up among some: a bit map in front of a binary search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.words import Hashes

PAIRS_AT_A_TIME = 2**20  # of positions and values: 16 MB
MAX_BITS = 24  # 16 MB; a million keys let 6 % of the others through


class Lookup:
    """Values by key; a key may have several.

    Args:
        keys: Hashes, [K].
        values: Value of each, [K].
    """

    def __init__(self, keys: Hashes, values: Ints) -> None:
        order = np.argsort(keys, kind="stable")
        self._values = values[order]
        self._keys, self._starts = np.unique(keys[order], return_index=True)
        self._counts = np.diff(np.append(self._starts, len(keys)))
        bits = min((16 * len(keys)).bit_length(), MAX_BITS)
        self._shift = np.uint64(64 - bits)
        self._map = np.zeros(2**bits, dtype=bool)
        self._map[keys >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """Which of the hashes are keys, and the value: one pair for each value, in order.

        Args:
            hashes: Any hashes, [H].

        Returns:
            Positions among ``hashes``, ascending, and values, [P] each.
        """
        parts = list(self.find_in_parts(hashes))
        if len(parts) == 1:
            return parts[0]
        nothing = np.zeros((2, 0), dtype=np.int64)
        positions, values = np.concatenate([nothing, *parts], axis=1)
        return positions, values

    def find_in_parts(self, hashes: Hashes) -> Iterator[tuple[Ints, Ints]]:
        """As ``find``, about ``PAIRS_AT_A_TIME`` pairs at a time: keys may have many values."""
        if not len(self._keys):
            return
        likely = np.flatnonzero(self._map[hashes >> self._shift])
        asked = hashes[likely]
        slots = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        there = self._keys[slots] == asked
        likely, slots = likely[there], slots[there]
        counts = self._counts[slots]
        part = np.cumsum(counts) // PAIRS_AT_A_TIME
        cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(counts)]
        for start, stop in zip(cuts, cuts[1:], strict=False):
            own = slice(start, stop)
            values = self._values[ranges(self._starts[slots[own]], counts[own])]
            yield np.repeat(likely[own], counts[own]), values


def ranges(starts: Ints, counts: Ints) -> Ints:
    """``counts[i]`` successive numbers from ``starts[i]`` on, one range after the other."""
    offsets = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(offsets - starts, counts)
