"""Pairs of sets that may be alike, among many that hashes do not tell apart: none is missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.lookup import ranges

if TYPE_CHECKING:
    from scipy.sparse import csr_array

COMMON = 3  # rare elements that a pair must share to be counted (our choice)
COLUMNS = 24  # bits of an element: where two have the same, a pair too many is counted
PRODUCTS_AT_A_TIME = 2**22  # of a product of matrices: 150 MB
ELEMENTS_AT_A_TIME = 2**22
LARGE = 1 / 16  # of the sets: such clusters are not searched for pairs inside of them (our choice)


class Crowd:
    """Sets of S elements together, M of them, by size; each begins with its rarest elements.

    Two sets of Jaccard similarity t or more have in common at least t n of the larger one's n
    elements, and 2 t n / (1 + t) of the smaller one's. In any order of all elements the first
    ``COMMON`` of these are among the first n - t n + ``COMMON`` of the larger set and the first
    n - 2 t n / (1 + t) + ``COMMON`` of the smaller one. What many sets share, as they do an
    instruction, stands last, and is hardly looked at.

    Args:
        elements: Elements of all sets, ascending in each set, [E].
        starts: First element of each set, [M].
        sizes: Elements of each set, [M].
        threshold: The similarity.

    Source: prefix filtering, Xiao et al., Efficient similarity joins for near-duplicate detection
    (2011), sections 3 and 4.
    """

    def __init__(
        self, elements: npt.NDArray[np.int32], starts: Ints, sizes: Ints, threshold: float
    ) -> None:
        self.order = np.argsort(sizes, kind="stable")
        self._sizes = sizes[self.order]
        smaller = np.ceil(self._sizes * (2 * threshold / (1 + threshold)) - 1e-9).astype(np.int64)
        larger = np.ceil(self._sizes * threshold - 1e-9).astype(np.int64)
        self._wanted = np.minimum(COMMON, smaller)  # of a pair with a set as the smaller one
        self._probed = np.minimum(self._sizes - larger + COMMON, self._sizes)
        self._indexed = np.minimum(self._sizes - smaller + COMMON, self._sizes)
        self._columns = self._rarest(elements, starts[self.order])
        self._bounds = np.append(0, np.cumsum(self._probed))

    def pairs(self, clusters: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Pairs that may be alike, as places among the sets; large clusters have none inside.

        Args:
            clusters: A number for each set; sets of one number are known to be connected, [M].
        """
        clusters = clusters[self.order]
        numbers, counts = np.unique(clusters, return_counts=True)
        large = numbers[counts > max(LARGE * len(clusters), 1)]
        for number in large:
            inside = clusters == number
            yield from self._join(np.flatnonzero(inside), np.flatnonzero(~inside))
        rest = np.flatnonzero(~np.isin(clusters, large))
        yield from self._join(rest, np.arange(len(clusters)))

    def _join(self, rows: Ints, others: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Pairs of one of ``rows`` and a smaller one of ``others``, or one before it."""
        index = self._matrix(others, self._indexed[others])
        costs = np.bincount(index.indices, minlength=2**COLUMNS)
        index = index.T.tocsr()
        probe = self._matrix(rows, self._probed[rows])
        part = np.append(0, np.cumsum(costs[probe.indices]))[probe.indptr] // PRODUCTS_AT_A_TIME
        cuts = (np.flatnonzero(np.diff(part)) + 1).tolist()
        for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            product = (probe[start:stop] @ index).tocoo()
            one, other = rows[product.coords[0] + start], others[product.coords[1]]
            keep = (other < one) & (product.data >= self._wanted[other])
            yield self.order[one[keep]], self.order[other[keep]]

    def _rarest(self, elements: npt.NDArray[np.int32], starts: Ints) -> npt.NDArray[np.int32]:
        """Columns of the elements with which each set probes, rare ones first."""
        block = np.cumsum(self._sizes) // ELEMENTS_AT_A_TIME
        blocks = np.split(np.arange(len(starts)), np.flatnonzero(np.diff(block)) + 1)
        counts = np.zeros(2**COLUMNS, dtype=np.int64)
        for rows in blocks:
            own = elements[ranges(starts[rows], self._sizes[rows])]
            counts += np.bincount(own >> (31 - COLUMNS), minlength=2**COLUMNS)
        parts = []
        for rows in blocks:
            sizes = self._sizes[rows]
            own = elements[ranges(starts[rows], sizes)]
            columns = own >> (31 - COLUMNS)
            order = np.lexsort((own, counts[columns], np.repeat(rows, sizes)))
            firsts = np.cumsum(sizes) - sizes
            parts.append(columns[order[ranges(firsts, self._probed[rows])]])
        return np.concatenate(parts)

    def _matrix(self, rows: Ints, lengths: Ints) -> csr_array:
        """The first elements of some sets, a column each, [rows, 2**COLUMNS]."""
        from scipy.sparse import csr_array

        columns = self._columns[ranges(self._bounds[rows], lengths)]
        bounds = np.append(0, np.cumsum(lengths))
        ones = np.ones(len(columns), dtype=np.int32)
        return csr_array((ones, columns, bounds), shape=(len(rows), 2**COLUMNS))
