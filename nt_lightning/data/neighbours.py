"""Candidates nearest to curated questions, which take turns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.vectors import Vectors

BLOCK = 2**15  # candidates compared at a time
LISTED = 2**25  # candidates in all lists of one pass: 400 MB


class Nearest(NamedTuple):
    """Rows in the order in which they were taken, and each candidate's best similarity."""

    rows: Ints
    best: npt.NDArray[np.float32]


def nearest_in_turns(curated: Vectors, vectors: Vectors, luck: Floats, size: int) -> Nearest:
    """Each curated question in turn takes its nearest candidate that is still free.

    Lists of the nearest free candidates are made for all questions; when one is used up, the
    lists are made anew from what is still free, so that they stay short however much is wanted.

    Args:
        curated: Unit vectors of the curated questions, [S, D].
        vectors: Unit vectors of the candidates, [N, D].
        luck: Uniform numbers that break ties, [N].
        size: Candidates wanted, at most N.
    """
    free = np.ones(len(vectors), dtype=bool)
    best = np.full(len(vectors), -1, dtype=np.float32)
    taken: list[int] = []
    while len(taken) < size:
        wanted = size - len(taken)
        depth = max(64 + 4 * (wanted // len(curated)), LISTED // len(curated))
        rows = np.flatnonzero(free)
        lists, near = _nearest(curated, vectors, rows, luck, min(depth, wanted, len(rows)))
        best[rows] = np.maximum(best[rows], near)
        _take(lists, free, taken, size)
    return Nearest(np.asarray(taken, dtype=np.int64), best)


def _take(lists: list[Ints], free: npt.NDArray[np.bool_], taken: list[int], size: int) -> None:
    """Go on with the turns until a list is used up or there is enough."""
    places = [0] * len(lists)
    while len(taken) < size:
        part = len(taken) % len(lists)
        own, place = lists[part], places[part]
        while place < len(own) and not free[own[place]]:
            place += 1
        if place == len(own):
            return
        free[own[place]] = False
        taken.append(int(own[place]))
        places[part] = place + 1


def _nearest(
    curated: Vectors, vectors: Vectors, rows: Ints, luck: Floats, depth: int
) -> tuple[list[Ints], npt.NDArray[np.float32]]:
    """The ``depth`` nearest of ``rows`` to each curated question; each row's best similarity.

    As many more are listed as are just as near as the last, so that luck decides among them.
    """
    asked = torch.from_numpy(curated.astype(np.float32))
    values, found = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.int64)
    best = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        block = torch.from_numpy(vectors[rows[start : start + BLOCK]].astype(np.float32))
        near = (asked @ block.T * 1e6).round_().div_(1e6)  # equal questions are equally near
        best[start : start + len(block)] = near.amax(0).numpy()
        places = torch.arange(start, start + len(block)).expand_as(near)
        values, found = torch.cat([values, near], 1), torch.cat([found, places], 1)
        if values.shape[1] > depth:
            values, found = _cut(values, found, depth)
    lists = []
    for value, place in zip(values.numpy(), found.numpy(), strict=True):
        own = rows[place[value > -2]]
        lists.append(own[np.lexsort((luck[own], -value[value > -2]))])
    return lists, best


def _cut(values: Tensor, found: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The largest ``depth`` of each line and those equal to its last; what is over is -3."""
    last = values.topk(depth).values[:, -1:]
    width = int((values >= last).sum(1).max())
    kept, order = values.topk(width)
    kept[kept < last] = -3
    return kept, found.gather(1, order)
