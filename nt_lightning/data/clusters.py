"""HDBSCAN for many points in many dimensions: clusters of question embeddings.

The definition is that of the ``hdbscan`` package (euclidean metric, excess of mass), and so are the
steps from the spanning tree to the labels. What comes before is matrix products, which are fast
where space trees are not, and exact but for float32: neighbours, core distances, and the minimum
spanning tree. Approximate are assigned points and reductions. ``cluster`` always says how well
its labels agree with an exact fit.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.errors import UserError

log = logging.getLogger(__name__)

Points = npt.NDArray[np.floating[Any]]

EXTRA_NEIGHBOURS = 8  # beyond min_samples: fewer bridges, slower top-k; our choice
BLOCK = 2**25  # numbers in a block of distances, 128 MiB; our choice
NEAR = (
    1e-3  # part of the norms under which a squared distance is taken from differences; our choice
)
EXACT_POINTS = 3_000  # points of the exact fit, a second's work; our choice
ENOUGH_AGREEMENT = 0.95  # our choice


class Clusters(NamedTuple):
    """Labels, and how far to trust them.

    Attributes:
        labels: Cluster of each point, numbered by their luckiest members, -1 is noise, [N].
        num_fitted: Points the tree was fit on; the others were assigned.
        agreement: Adjusted Rand index with an exact fit of the luckiest points without reduction,
            noise counted as a cluster; at most 1, 0 by chance. It says nothing of the assigned.
        agreement_points: Points of that fit.
    """

    labels: Ints
    num_fitted: int
    agreement: float
    agreement_points: int


class _Base(NamedTuple):
    """Points to search in: [n, D] around zero, squared norms [n], room for a block."""

    points: Tensor
    squares: Tensor
    room: Tensor


class _Fit(NamedTuple):
    """Fitted points: core distances [n], labels [n]; how far each cluster is from the rest [C]."""

    base: _Base
    core: Tensor
    labels: Ints
    gaps: Floats


def cluster(
    points: Points,
    luck: Floats,
    *,
    min_cluster_size: int = 25,
    min_samples: int | None = None,
    max_fitted: int = 100_000,
    reduction: Literal["none", "pca", "umap"] = "none",
    num_dimensions: int = 50,
) -> Clusters:
    """HDBSCAN clusters, the same for every order of the rows.

    Of more than ``max_fitted`` points the luckiest are fit. Each other point goes to the cluster of
    the fitted point that is nearest by mutual reachability, or is noise if that is noise or not
    nearer than the cluster's distance from the rest.

    Args:
        points: Vectors, [N, D], any float dtype; a memory map is read in blocks.
        luck: Uniform numbers in [0, 1), a function of each point's id, [N].
        min_cluster_size: Fitted points that make a cluster, 2 to N.
        min_samples: A core distance is that of this neighbour, the point itself not counted, at
            least 1; ``min_cluster_size`` if None.
        max_fitted: Points to fit, at least ``min_cluster_size``; time grows with its square.
        reduction: Principal components or UMAP before; both can merge clusters.
        num_dimensions: Dimensions that the reduction leaves, 1 to D.

    Raises:
        UserError: An argument is out of range, a value is not finite, a package is missing.

    Source: Campello, Moulavi, Sander, Density-based clustering based on hierarchical density
        estimates (2013). How a point is assigned is our choice, after ``approximate_predict``.
    """
    size, dimensions = points.shape
    _check_range("len(luck)", len(luck), size, size)
    _check_range("min_cluster_size", min_cluster_size, 2, size)
    min_samples = min_cluster_size if min_samples is None else min_samples
    _check_range("min_samples", min_samples, 1)
    _check_range("max_fitted", max_fitted, min_cluster_size)
    if reduction not in ("none", "pca", "umap"):
        raise UserError(f"reduction is {reduction}; it may be none, pca or umap")
    if reduction != "none":
        _check_range("num_dimensions", num_dimensions, 1, dimensions)
    for rows in _blocks(np.arange(size), BLOCK // dimensions, "checking"):
        finite = np.isfinite(points[rows]).all(1)
        if not finite.all():
            raise UserError(f"points: row {rows[finite.argmin()]} has values that are not finite")

    order = np.argsort(luck, kind="stable")
    fitted, rest = order[:max_fitted], np.sort(order[max_fitted:])
    raw = points[fitted].astype(np.float32)
    prepare = _preparation(reduction, raw, num_dimensions)
    sample = prepare(raw)
    raw = raw[:EXACT_POINTS].copy()  # the rest is let go
    fit = _fit(sample, min_cluster_size, min_samples)
    labels = np.empty(size, dtype=np.int64)
    labels[fitted] = fit.labels
    for rows in _blocks(rest, _block_rows(fit.base, min_samples), "assigning"):
        labels[rows] = _assign(prepare(points[rows]), fit, min_samples)
    if len(raw) < len(sample):
        fit = _fit(sample[: len(raw)], min_cluster_size, min_samples)
    agreement = _agreement(raw, fit.labels, min_cluster_size, min_samples)
    return Clusters(labels, len(sample), agreement, len(raw))


def _check_range(name: str, value: int, low: int, high: float = np.inf) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; it may be {low} to {high}")


def _blocks(rows: Ints, size: int, doing: str) -> Iterator[Ints]:
    """Rows in pieces of ``size``, with a bar when it takes long."""
    with tqdm(total=len(rows), desc=doing, unit=" points", delay=3, disable=None) as bar:
        for start in range(0, len(rows), max(1, size)):
            yield rows[start : start + max(1, size)]
            bar.update(min(max(1, size), len(rows) - start))


def _preparation(reduction: str, sample: Points, dimensions: int) -> Callable[[Points], Points]:
    """A function that reduces rows and moves them to around zero, as the sample needs it."""
    if reduction == "none":
        mean = sample.mean(0)  # distances lose less to cancellation around zero
        return lambda rows: rows.astype(np.float32) - mean
    if reduction == "pca":
        from sklearn.decomposition import PCA as Reducer
    else:
        try:
            from umap import UMAP as Reducer
        except ImportError:
            raise UserError("reduction is umap; that needs: pip install umap-learn") from None
    reducer = Reducer(n_components=dimensions, random_state=0).fit(sample)
    mean = reducer.transform(sample).mean(0)
    return lambda rows: reducer.transform(rows.astype(np.float32)) - mean


def _fit(sample: Points, min_cluster_size: int, min_samples: int) -> _Fit:
    """Cluster all points of a sample, [n, D] float32 around zero."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    points, size = torch.from_numpy(sample).to(device), len(sample)
    base = _Base(points, points.square().sum(1), torch.empty(max(BLOCK, size), device=device))
    width = min(min_samples + EXTRA_NEIGHBOURS + 1, size)  # a point is its own first neighbour
    found = []
    for rows in _blocks(np.arange(size), _block_rows(base, width), "neighbours"):
        found.append([part.cpu() for part in _nearest(points[rows[0] : rows[-1] + 1], base, width)])
    distance, near = (torch.cat(column) for column in zip(*found, strict=True))
    core = distance[:, min(min_samples, size - 1)].clone()
    tree = _spanning_tree(base, near.numpy(), distance.numpy(), core.numpy())
    labels = _tree_labels(tree, min_cluster_size)
    ends = labels[tree[:, :2].astype(np.int64)]
    gaps = np.full(labels.max() + 2, np.inf)  # the last is of noise
    np.minimum.at(gaps, ends, np.where(ends[:, :1] != ends[:, 1:], tree[:, 2:], np.inf))
    gaps[-1] = 0.0
    return _Fit(base, core.to(device), labels, gaps)


def _block_rows(base: _Base, width: int) -> int:
    """Rows of which the distances, and the vectors of ``width`` neighbours, fill a block."""
    size, dimensions = base.points.shape
    return BLOCK // (size + width * dimensions)


def _products(queries: Tensor, base: _Base) -> Tensor:
    """Squared distances less the queries' squared norms, [q, n], in the base's room."""
    block = base.room[: len(queries) * len(base.points)].view(len(queries), -1)
    return torch.addmm(base.squares, queries, base.points.T, alpha=-2, out=block)


def _nearest(queries: Tensor, base: _Base, width: int) -> tuple[Tensor, Tensor]:
    """Distances to the nearest ``width`` base points, ascending, and their rows, [q, width]."""
    squared, index = _products(queries, base).topk(width, largest=False)
    squares = queries.square().sum(1, keepdim=True)
    squared = (squared + squares).clamp_(min=0)
    near = squared < NEAR * (squares + base.squares[index])  # equal points are to have distance 0
    row = near.nonzero()[:, 0]
    squared[near] = (queries[row] - base.points[index[near]]).square_().sum(1)
    distance, order = squared.sqrt_().sort(stable=True)
    return distance, index.gather(1, order)


def _spanning_tree(base: _Base, near: Ints, distance: Points, core: Points) -> Floats:
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


def _bridges(base: _Base, core: Points, parts: Ints) -> Floats:
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
    for rows in _blocks(np.arange(starts[-2]), _block_rows(base, 1), "joining"):
        owner = parts[order[rows]]
        first = starts[owner[0]]  # what is before has looked for its edges to these rows
        limits = starts[owner[0] :] - first
        later = _Base(points[first:], base.squares[order[first:]], base.room)
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


def _tree_labels(tree: Floats, min_cluster_size: int) -> Ints:
    """Labels by the steps of ``hdbscan``, numbered by the clusters' first points, [n]."""
    from hdbscan._hdbscan_linkage import label
    from hdbscan._hdbscan_tree import compute_stability, condense_tree, get_clusters

    linkage = label(tree[np.argsort(tree[:, 2], kind="stable")])
    condensed = condense_tree(linkage, min_cluster_size)
    labels = get_clusters(condensed, compute_stability(condensed))[0]
    names, first, named = np.unique(labels, return_index=True, return_inverse=True)
    first[names < 0] = -1  # noise before all clusters
    return np.argsort(np.argsort(first))[named] - int(names[0] < 0)


def _assign(rows: Points, fit: _Fit, min_samples: int) -> Ints:
    """Labels of prepared rows that were not fitted, [q, D]."""
    queries = torch.from_numpy(rows).to(fit.core.device)
    distance, index = _nearest(queries, fit.base, min(min_samples, len(fit.core)))
    reach, nearest = torch.maximum(distance[:, -1:], fit.core[index]).min(1)
    labels = fit.labels[index.gather(1, nearest[:, None])[:, 0].cpu().numpy()]
    return np.where(reach.cpu().numpy() < fit.gaps[labels], labels, -1)


def _agreement(raw: Points, labels: Ints, min_cluster_size: int, min_samples: int) -> float:
    """Adjusted Rand index of labels with those of the exact tree, logged."""
    from hdbscan._hdbscan_linkage import mst_linkage_core
    from hdbscan._hdbscan_reachability import mutual_reachability
    from sklearn.metrics import adjusted_rand_score, euclidean_distances

    distance = euclidean_distances(raw.astype(np.float64))
    tree = mst_linkage_core(mutual_reachability(distance, min_samples))
    exact = _tree_labels(tree, min_cluster_size)
    agreement = float(adjusted_rand_score(exact, labels))
    level = logging.INFO if agreement >= ENOUGH_AGREEMENT else logging.WARNING
    message = "clusters agree to %.3f with an exact fit of %d points, which has %d clusters"
    log.log(level, message, agreement, len(raw), exact.max() + 1)
    return agreement
