"""HDBSCAN for many points in many dimensions: clusters of question embeddings.

The definition is that of the ``hdbscan`` package (euclidean metric, excess of mass), and so are the
steps from the spanning tree to the labels. What comes before is matrix products, which are fast
where space trees are not, and exact but for float32: neighbours, core distances, and the minimum
spanning tree. Approximate are assigned points and reductions. ``cluster`` always says how well
its labels agree with an exact fit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.spanning_tree import (
    BLOCK,
    Base,
    Points,
    block_rows,
    blocks_of,
    neighbours_of,
    spanning_tree,
)
from nt_lightning.errors import UserError

log = logging.getLogger(__name__)

EXTRA_NEIGHBOURS = 8  # our choice
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


class _Fit(NamedTuple):
    """Fitted points: core distances [n], labels [n]; how far each cluster is from the rest [C]."""

    base: Base
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
        raise UserError(f"reduction is {reduction}; allowed: none, pca or umap")
    if reduction != "none":
        _check_range("num_dimensions", num_dimensions, 1, dimensions)
    for rows in blocks_of(np.arange(size), BLOCK // dimensions, "checking"):
        finite = np.isfinite(points[rows]).all(1)
        if not finite.all():
            raise UserError(f"points: row {rows[finite.argmin()]} has values that are not finite")

    order = np.argsort(luck, kind="stable")
    fitted, rest = order[:max_fitted], order[max_fitted:]
    raw = points[fitted].astype(np.float32)
    prepare = _preparation(reduction, raw, num_dimensions)
    sample = prepare(raw)
    raw = raw[:EXACT_POINTS].copy()  # the rest is let go
    fit = _fit(sample, min_cluster_size, min_samples)
    labels = np.empty(size, dtype=np.int64)
    labels[fitted] = fit.labels
    for rows in blocks_of(rest, block_rows(fit.base, min_samples), "assigning"):
        labels[rows] = _assign(prepare(points[rows]), fit, min_samples)
    if len(raw) < len(sample):
        fit = _fit(sample[: len(raw)], min_cluster_size, min_samples)
    agreement = _agreement(raw, fit.labels, min_cluster_size, min_samples)
    return Clusters(labels, len(sample), agreement, len(raw))


def _check_range(name: str, value: int, low: int, high: float = np.inf) -> None:
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; allowed: {low} to {high}")


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
    base = Base(points, points.square().sum(1), torch.empty(max(BLOCK, size), device=device))
    width = min(min_samples + EXTRA_NEIGHBOURS + 1, size)  # a point is its own first neighbour
    found = []
    for rows in blocks_of(np.arange(size), block_rows(base, width), "neighbours"):
        found.append(
            [part.cpu() for part in neighbours_of(points[rows[0] : rows[-1] + 1], base, width)]
        )
    distance, near = (torch.cat(column) for column in zip(*found, strict=True))
    core = distance[:, min(min_samples, size - 1)].clone()
    tree = spanning_tree(base, near.numpy(), distance.numpy(), core.numpy())
    labels = _tree_labels(tree, min_cluster_size)
    ends = labels[tree[:, :2].astype(np.int64)]
    gaps = np.full(labels.max() + 2, np.inf)  # the last is of noise
    np.minimum.at(gaps, ends, np.where(ends[:, :1] != ends[:, 1:], tree[:, 2:], np.inf))
    gaps[-1] = 0.0
    return _Fit(base, core.to(device), labels, gaps)


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
    distance, index = neighbours_of(queries, fit.base, min(min_samples, len(fit.core)))
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
