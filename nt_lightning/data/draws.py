"""Orders that selections are made of: vectorised, by id, and nested over sizes.

Every order names the candidates best first, and a selection takes the first ones, so that with one
seed a smaller selection is contained in a larger one. ``luck`` is one uniform number per candidate,
a function of (seed, id): neither the order of the rows nor their shards matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.data.plan import Ints

Floats = npt.NDArray[np.float64]


def first_by(keys: Floats | Ints, luck: Floats) -> Ints:
    """Candidates by ascending key, ties by luck.

    Args:
        keys: What is ordered by, [N].
        luck: Uniform numbers, [N].
    """
    return np.lexsort((luck, keys))


def weighted(weights: Floats, luck: Floats) -> Ints:
    """Candidates drawn one after the other without replacement, in proportion to the weights.

    Args:
        weights: Positive weights, [N].
        luck: Uniform numbers in [0, 1), [N].

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006): by ascending
    exponential variables with these rates.
    """
    return np.argsort(-np.log1p(-luck) / weights, kind="stable")


def thinned(weights: Floats, luck: Floats) -> Ints:
    """Candidates kept independently of each other, each with the probability ``weights``.

    Args:
        weights: Probabilities, [N].
        luck: Uniform numbers in [0, 1), [N].
    """
    return np.flatnonzero(luck < weights)


def even_over_groups(groups: Ints, luck: Floats) -> Ints:
    """Candidates spread over groups as evenly as their sizes allow, at random within each.

    A group that has too few gives all of them, and the rest is spread over the others. The groups
    take turns in the order of their numbers, so that what is left over at the end goes to the
    first ones.

    Args:
        groups: Group of each candidate, 0 .. G - 1, [N].
        luck: Uniform numbers, [N].
    """
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((luck, groups))
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    turn = np.empty(len(groups), dtype=np.int64)  # 0 for each group's luckiest row, then 1, ...
    turn[order] = np.arange(len(groups)) - starts[groups[order]]
    return np.lexsort((groups, turn))


class Turns(NamedTuple):
    """Candidates in the order in which they were taken, and the part that took each."""

    rows: Ints
    parts: Ints


def take_turns(orders: Sequence[Ints], shares: Sequence[float], total: int, size: int) -> Turns:
    """Merge orders: next comes the best free candidate of the part most behind its share.

    No candidate comes twice. It ends where the part whose turn it is has none left, so that the
    shares hold at every length.

    Args:
        orders: Candidates of each part, best first.
        shares: Positive share of each part.
        total: Number of candidates.
        size: Turns at most.
    """
    free = np.ones(total, dtype=bool)
    waiting = [iter(order.tolist()) for order in orders]
    counts = [0] * len(orders)
    turns: list[tuple[int, int]] = []
    for _ in range(size):
        part = min(range(len(orders)), key=lambda one: (counts[one] + 0.5) / shares[one])
        row = next((row for row in waiting[part] if free[row]), None)
        if row is None:
            break
        free[row] = False
        counts[part] += 1
        turns.append((row, part))
    rows, parts = np.array(turns, dtype=np.int64).reshape(-1, 2).T
    return Turns(rows, parts)
