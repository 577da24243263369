"""Nearest neighbours and minimum spanning trees by mutual reachability, from matrix products.

Matrix products are fast in many dimensions, where space trees are not. All is exact but for
float32.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints

log = logging.getLogger(__name__)

Points = npt.NDArray[np.floating[Any]]

BLOCK = 2**25  # numbers in a block of distances, 128 MiB; our choice
# part of the norms under which a squared distance is taken from differences; our choice
NEAR = 1e-3


class Base(NamedTuple):
    """Points to search in: [n, D] around zero, squared norms [n], room for a block."""

    points: Tensor
    squares: Tensor
    room: Tensor


def blocks_of(rows: Ints, size: int, doing: str) -> Iterator[Ints]:
    """Rows in pieces of ``size``, with a bar when it takes long."""
    with tqdm(total=len(rows), desc=doing, unit=" points", delay=3, disable=None) as bar:
        for start in range(0, len(rows), max(1, size)):
            yield rows[start : start + max(1, size)]
            bar.update(min(max(1, size), len(rows) - start))


def block_rows(base: Base, width: int) -> int:
    """Rows of which the distances, and the vectors of ``width`` neighbours, fill a block."""
    size, dimensions = base.points.shape
    return BLOCK // (size + width * dimensions)


def _products(queries: Tensor, base: Base) -> Tensor:
    """Squared distances less the queries' squared norms, [q, n], in the base's room."""
    block = base.room[: len(queries) * len(base.points)].view(len(queries), -1)
    return torch.addmm(base.squares, queries, base.points.T, alpha=-2, out=block)


def neighbours_of(queries: Tensor, base: Base, width: int) -> tuple[Tensor, Tensor]:
    """Distances to the nearest ``width`` base points, ascending, and their rows, [q, width]."""
    squared, index = _products(queries, base).topk(width, largest=False)
    squares = queries.square().sum(1, keepdim=True)
    squared = (squared + squares).clamp_(min=0)
    near = squared < NEAR * (squares + base.squares[index])  # equal points are to have distance 0
    row = near.nonzero()[:, 0]
    squared[near] = (queries[row] - base.points[index[near]]).square_().sum(1)
    distance, order = squared.sqrt_().sort(stable=True)
    return distance, index.gather(1, order)


def spanning_tree(base: Base, near: Ints, distance: Points, core: Points) -> Floats:
    """Minimum spanning tree by mutual reachability: rows of two ends and a length, [n - 1, 3].

    Boruvka rounds over the neighbour graph [n, width]: a part's shortest edge in it is sure when no
    longer than the part's unknown edges can be. Parts that have none are joined by bridges.
    """
    size, width = near.shape
    one, other = np.repeat(np.arange(size), width), near.ravel()
    length = np.maximum(np.maximum(core[one], core[other]), distance.ravel())
    graph, _ = _forest(np.column_stack([one, other, length]), size)
    unknown = distance[:, -1].astype(np.float64) if width < size else np.full(size, np.inf)
    tree, parts = graph[:0], np.arange(size)
    while True:
        ends = parts[graph[:, :2].astype(np.int64)]
        between = ends[:, 0] != ends[:, 1]
        graph, ends = graph[between], ends[between]
        part, first = np.unique(ends, return_index=True)  # graph ascends, so first is shortest
        shortest = np.full(size, np.inf)
        np.minimum.at(shortest, parts, unknown)
        sure = graph[first // 2, 2] <= shortest[part]
        if not sure.any():
            break
        tree, parts = _forest(np.vstack([tree, graph[np.unique(first[sure] // 2)]]), size)
    if parts.max() > 0:
        log.debug("%d parts of the neighbour graph need bridges", parts.max() + 1)
        tree, _ = _forest(np.vstack([tree, _bridges(base, core, parts)]), size)
    return tree


def _forest(edges: Floats, size: int) -> tuple[Floats, Ints]:
    """Minimum spanning forest of edges, [E, 3], ascending, and the part of each point, [n]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    edges = edges[np.argsort(edges[:, 2], kind="stable")]
    ranks = np.arange(1.0, len(edges) + 1)  # for SciPy a length of 0 is no edge
    ends = edges[:, :2].T.astype(np.int32)
    forest = minimum_spanning_tree(coo_array((ranks, tuple(ends)), shape=(size, size)).tocsr())
    kept = np.sort(forest.data).astype(np.int64) - 1
    return edges[kept], connected_components(forest, directed=False)[1]


def _bridges(base: Base, core: Points, parts: Ints) -> Floats:
    """The shortest edge between every two parts, some both ways, [E, 3].

    One pass over at most half of all pairs: the largest part is last and need not look.

    Args:
        base: The n points.
        core: Core distances, [n].
        parts: Part of each point, 0 .. P - 1, P > 1, [n].
    """
    sizes = np.bincount(parts)
    parts = np.argsort(np.argsort(sizes, kind="stable"))[parts]  # the largest is last
    order = np.argsort(parts, kind="stable")
    starts = np.append(0, np.cumsum(np.sort(sizes)))
    points = base.points[order]
    cores = torch.from_numpy(core[order]).to(points.device)
    edges = []
    for rows in blocks_of(np.arange(starts[-2]), block_rows(base, 1), "joining"):
        owner = parts[order[rows]]
        first = starts[owner[0]]  # what is before has looked for its edges to these rows
        limits = starts[owner[0] :] - first
        later = Base(points[first:], base.squares[order[first:]], base.room)
        block = _products(points[rows], later).add_(base.squares[order[rows], None])
        torch.maximum(block, cores[first:].square(), out=block)
        nearest = [block[:, a:b].min(1) for a, b in itertools.pairwise(limits)]
        place = torch.stack([one.indices for one in nearest], 1).cpu().numpy()
        place += starts[owner[0] : -1]
        values = torch.stack([one.values for one in nearest], 1)  # [rows, later parts]
        length = values.maximum(cores[rows, None].square()).cpu().numpy()
        for part in np.unique(owner):
            mine = np.flatnonzero(owner == part)
            best = mine[length[mine].argmin(0)]
            ends = np.stack([rows[best], place[best, np.arange(len(best))]], 1)
            ends = ends[np.arange(owner[0], len(sizes)) != part]
            apart = (points[ends[:, 0]] - points[ends[:, 1]]).norm(dim=1).cpu().numpy()
            ends = order[ends]
            edges.append(np.column_stack([ends, np.maximum(apart, core[ends].max(1))]))
    return np.concatenate(edges)
