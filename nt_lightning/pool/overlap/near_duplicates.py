"""Pairs of texts whose sets of word runs are alike: MinHash, bands, and an exact count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.crowds import Crowd
from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.lookup import ranges
from nt_lightning.pool.overlap.words import Hashes, SpanHasher, run_hashes, split_words, word_hashes

NUM_HASHES = 256  # of a signature (our choice)
RECALL = 0.99  # of pairs that are just alike enough (our choice)
SEED = 1
PAIRS_AT_A_TIME = 2**18
# texts that have one key with more others, as those with one instruction do, are compared with few
# of them, and by their rare runs with all that are crowded so (our choice)
CROWD, FEW = 64, 2
Pairs = npt.NDArray[np.int64]  # [P, 2]
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Bands(NamedTuple):
    """How a signature is cut: two texts are compared when one band is the same in both."""

    number: int
    width: int


def choose_bands(threshold: float) -> Bands:
    """The widest bands that lose at most 1 % of the pairs at the threshold.

    With Jaccard similarity s, a band of r hashes is the same with probability s^r, and one of b
    bands with 1 - (1 - s^r)^b: at 0.55, 64 bands of 4 find 99.8 %, at 0.7 all but one in 10^7.

    Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets (2014), section 3.4.
    """
    widths = [
        width
        for width in range(1, NUM_HASHES + 1)
        if 1 - (1 - threshold**width) ** (NUM_HASHES // width) >= RECALL
    ]
    return Bands(NUM_HASHES // max(widths, default=1), max(widths, default=1))


class Sketches:
    """Sets of word runs and their signatures, block by block.

    Args:
        run: Words in a run.
        bands: How signatures are cut.
    """

    def __init__(self, run: int, bands: Bands) -> None:
        self._run, self._bands = run, bands
        self._sets: list[npt.NDArray[np.int32]] = []
        self._sizes: list[Ints] = []
        self._keys: list[npt.NDArray[np.uint32]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Sketch further texts."""
        from rensa import RMinHash

        hashes, sizes = _sets(texts, self._run)
        offsets = np.append(0, np.cumsum(sizes)).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, NUM_HASHES, SEED)
        signatures = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(sizes), NUM_HASHES)
        self._keys.append(_band_keys(signatures, self._bands))
        self._sets.append(_halves(hashes))
        self._sizes.append(sizes)

    def similar_pairs(self, threshold: float) -> Pairs:
        """Pairs of texts that are at least so alike, enough to connect all of them.

        Pairs that others connect already are left out. The similarity is that of hashes.

        Args:
            threshold: Jaccard similarity in (0, 1].

        Returns:
            Numbers of two texts, in the order in which they were added, [P, 2].
        """
        search = _Search(np.concatenate(self._sets), np.concatenate(self._sizes), threshold)
        for band in range(self._bands.number):
            search.compare_band(np.concatenate([keys[:, band] for keys in self._keys]))
        search.compare_crowds()
        return search.edges()


def sets_of_runs(texts: Sequence[str], run: int) -> list[set[tuple[str, ...]]]:
    """The sets that are compared: all runs of so many words, or all words where there are fewer.

    Args:
        texts: The texts; signs of arithmetic are words.
        run: Words in a run.
    """
    split = split_words(texts, operators=True)
    letters = "".join(map(chr, split.letters.tolist()))
    spans = zip(split.starts.tolist(), split.ends.tolist(), strict=True)
    words = [letters[start:end] for start, end in spans]
    bounds = split.bounds.tolist()
    return [
        {
            tuple(words[first : min(first + run, stop)])
            for first in range(start, max(stop - run + 1, min(start + 1, stop)))
        }
        for start, stop in zip(bounds, bounds[1:], strict=False)
    ]


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Size of the intersection over size of the union; nothing is like nothing else."""
    return len(one & other) / len(one | other) if one and other else 0.0


class _Search:
    """Compares texts band by band, and forgets pairs that are connected already."""

    def __init__(self, sets: npt.NDArray[np.int32], sizes: Ints, threshold: float) -> None:
        from scipy.sparse import csr_array

        pointers = np.append(0, np.cumsum(sizes))
        ones = np.ones(len(sets), dtype=np.int32)
        shape = (len(sizes), 2**31 - 1)
        self._matrix = csr_array((ones, sets, pointers), shape=shape)
        self._sizes, self._threshold = sizes, threshold
        self._is_crowded = np.zeros(len(sizes), dtype=bool)
        self._clusters = np.arange(len(sizes))
        self._found: list[Pairs] = []
        self._num_connected = 0

    def compare_band(self, keys: npt.NDArray[np.uint32]) -> None:
        """Compare the texts that have one key in a band."""
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        there = np.arange(len(keys))
        _, counts = np.unique(keys, return_counts=True)
        is_crowded = np.repeat(counts > CROWD, counts)
        self._is_crowded[order[is_crowded]] = True
        for distance in range(1, len(keys)):
            there = there[: np.searchsorted(there, len(keys) - distance)]
            there = there[keys[there] == keys[there + distance]]
            if distance == FEW + 1:
                there = there[~is_crowded[there]]
            if not len(there):
                break
            self._compare(order[there], order[there + distance])
            if distance & (distance - 1) == 0:  # rarely enough: it looks at all texts
                self._connect()
        self._connect()

    def compare_crowds(self) -> None:
        """Compare texts that shared a key with many, whatever their other keys."""
        rows = np.flatnonzero(self._is_crowded & (self._sizes > 0))
        if not len(rows):
            return
        starts = self._matrix.indptr[rows].astype(np.int64)
        crowd = Crowd(self._matrix.indices, starts, self._sizes[rows], self._threshold)
        for ones, others in crowd.pairs(self._clusters[rows]):
            self._compare(rows[ones], rows[others])

    def edges(self) -> Pairs:
        """All pairs that were found, [P, 2]."""
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *self._found])

    def _compare(self, ones: Ints, others: Ints) -> None:
        apart = self._clusters[ones] != self._clusters[others]
        ones, others = ones[apart], others[apart]
        small, large = np.sort([self._sizes[ones], self._sizes[others]], axis=0)
        may_be = small / np.maximum(large, 1) >= self._threshold
        ones, others = ones[may_be], others[may_be]
        for start in range(0, len(ones), PAIRS_AT_A_TIME):
            one, other = (side[start : start + PAIRS_AT_A_TIME] for side in (ones, others))
            alike = self._are_alike(one, other)
            if alike.any():
                self._found.append(np.sort(np.stack([one[alike], other[alike]], axis=1), axis=1))

    def _are_alike(self, ones: Ints, others: Ints) -> npt.NDArray[np.bool_]:
        common = self._matrix[ones].multiply(self._matrix[others]).sum(axis=1)
        similarity = common / (self._sizes[ones] + self._sizes[others] - common)
        return np.asarray(similarity >= self._threshold)

    def _connect(self) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if len(self._found) == self._num_connected:
            return
        self._num_connected = len(self._found)
        edges, count = self.edges(), len(self._sizes)
        graph = coo_array((np.ones(len(edges)), tuple(edges.T)), shape=(count, count))
        self._clusters = connected_components(graph, directed=False)[1]


def _sets(texts: Sequence[str], run: int) -> tuple[Hashes, Ints]:
    """Hashes of each text's set, ascending and distinct, one set after the other; their sizes."""
    words = split_words(texts, operators=True)
    hasher = SpanHasher(words.letters)
    numbers = np.maximum(words.counts - run + 1, np.minimum(words.counts, 1))
    firsts = ranges(words.bounds[:-1], numbers)
    lengths = np.minimum(np.repeat(words.bounds[1:], numbers) - firsts, run)
    hashes = run_hashes(word_hashes(words, hasher), firsts, lengths)
    texts_of = np.repeat(np.arange(len(texts)), numbers)
    order = np.lexsort((hashes, texts_of))
    hashes, texts_of = hashes[order], texts_of[order]
    halves = _halves(hashes)
    new = np.ones(len(hashes), dtype=bool)  # distinct by halves, as sparse arrays need them
    new[1:] = (halves[1:] != halves[:-1]) | (texts_of[1:] != texts_of[:-1])
    return hashes[new], np.bincount(texts_of[new], minlength=len(texts))


def _halves(hashes: Hashes) -> npt.NDArray[np.int32]:
    """31 bits of each hash, in the same order: a pair that they take for alike is read again."""
    return (hashes >> np.uint64(33)).astype(np.int32)


def _band_keys(signatures: npt.NDArray[np.uint32], bands: Bands) -> npt.NDArray[np.uint32]:
    """A number for each band of each signature, [N, bands]."""
    cut = signatures[:, : bands.number * bands.width].reshape(-1, *bands)
    keys = np.zeros(cut.shape[:2], dtype=np.uint64)
    for place in range(bands.width):
        keys = (keys + cut[:, :, place]) * _MIX
        keys ^= keys >> np.uint64(29)
    return (keys >> np.uint64(32)).astype(np.uint32)
