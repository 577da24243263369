"""Draws that selections are made of: vectorised, by id, and nested over sizes.

Every draw orders the candidates once and takes the first ones, so that with one seed a smaller
selection is contained in a larger one. ``luck`` is one uniform number per candidate, a function of
(seed, id): neither the order of the rows nor their shards matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nt_lightning.data.plan import Ints

Floats = npt.NDArray[np.float64]


def first_by(keys: Floats, luck: Floats, size: int) -> Ints:
    """Rows of the ``size`` smallest keys, ties by luck, ascending.

    Args:
        keys: What is ordered by, [N].
        luck: Uniform numbers, [N].
        size: Rows to take, at most N.
    """
    return np.sort(np.lexsort((luck, keys))[:size])


def weighted(weights: Floats, luck: Floats, size: int) -> Ints:
    """Rows drawn one after the other without replacement, each time in proportion to the weights.

    Args:
        weights: Positive weights, [N].
        luck: Uniform numbers in [0, 1), [N].
        size: Rows to take, at most N.

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006): the rows of
    the smallest exponential variables with these rates.
    """
    return first_by(-np.log1p(-luck) / weights, luck, size)


def even_over_groups(groups: Ints, luck: Floats, size: int) -> Ints:
    """Rows spread over groups as evenly as their sizes allow, at random within each.

    A group that has too few rows gives all of them, and the rest is spread over the others. Rows
    that are left over at the end go to one group each, in the order of the groups' numbers.

    Args:
        groups: Group of each row, 0 .. G - 1, [N].
        luck: Uniform numbers, [N].
        size: Rows to take, at most N.
    """
    order = np.lexsort((luck, groups))
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    turn = np.empty(len(groups), dtype=np.int64)  # 0 for each group's luckiest row, then 1, ...
    turn[order] = np.arange(len(groups)) - starts[groups[order]]
    return np.sort(np.lexsort((groups, turn))[:size])
