"""Clusters against the hdbscan package and against definitions."""

import logging
import sys

import numpy as np
import pytest
import torch
from hdbscan import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from nt_lightning.data import clusters, spanning_tree
from nt_lightning.data.clusters import cluster
from nt_lightning.errors import UserError
from tests.unit.data.clouds import clouds


@pytest.mark.parametrize("dimensions", [3, 30, 200])
@pytest.mark.parametrize(("min_cluster_size", "min_samples"), [(10, None), (25, 5), (40, 15)])
def test_labels_are_those_of_hdbscan(dimensions, min_cluster_size, min_samples):
    points, luck = clouds(1_800, dimensions, 8)
    sizes = {"min_cluster_size": min_cluster_size, "min_samples": min_samples}
    wanted = HDBSCAN(**sizes, approx_min_span_tree=False).fit(points.astype(np.float64)).labels_
    found = cluster(points, luck, **sizes)
    assert wanted.max() >= 2
    assert adjusted_rand_score(wanted, found.labels) >= 0.99
    assert abs((wanted < 0).sum() - (found.labels < 0).sum()) <= 4
    assert found.agreement >= 0.99
    assert found.num_fitted == found.agreement_points == len(points)


def test_exact_tree_of_the_agreement():
    """The reference is the package's, with ties as they fall."""
    points, _ = clouds(900, 16, 5)
    wanted = HDBSCAN(20, algorithm="generic").fit(points.astype(np.float64)).labels_
    assert clusters._agreement(points, wanted.astype(np.int64), 20, 20) >= 0.99


@pytest.mark.parametrize("max_fitted", [10_000, 700])
def test_order_of_rows_does_not_matter(max_fitted):
    points, luck = clouds(1_500, 24, 6)
    order = np.random.default_rng(5).permutation(len(points))
    found = cluster(points, luck, max_fitted=max_fitted)
    moved = cluster(points[order], luck[order], max_fitted=max_fitted)
    assert np.array_equal(found.labels[order], moved.labels)
    assert found[1:] == moved[1:]
    luckiest = [luck[found.labels == number].min() for number in range(found.labels.max() + 1)]
    assert luckiest == sorted(luckiest)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_sample_and_assign(dtype, monkeypatch, tmp_path):
    points, luck = clouds(6_000, 32, 8, seed=2)
    np.save(tmp_path / "points.npy", points.astype(dtype))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    whole = cluster(mapped, luck, min_samples=5).labels
    monkeypatch.setattr(spanning_tree, "BLOCK", 2**20)  # many blocks
    found = cluster(mapped, luck, min_samples=5, max_fitted=2_500)
    fitted = np.argsort(luck)[:2_500]
    rest = np.setdiff1d(np.arange(6_000), fitted)
    assert found.num_fitted == 2_500
    assert adjusted_rand_score(whole, found.labels) > 0.9
    noise = [(found.labels[rows] < 0).mean() for rows in (fitted, rest)]
    assert abs(noise[0] - noise[1]) < 0.03


def test_equal_points():
    """Copies are at distance 0, however far from the origin, and labels are the package's."""
    points, luck = clouds(1_200, 16, 6)
    copies = np.random.default_rng(1).random(1_200) < 0.3
    points[copies] = points[np.arange(copies.sum()) % 5]
    points += 1
    wanted = HDBSCAN(20, min_samples=8, approx_min_span_tree=False).fit(points).labels_
    found = cluster(points, luck, min_cluster_size=20, min_samples=8)
    assert adjusted_rand_score(wanted, found.labels) >= 0.99
    fit = clusters._fit(points - points.mean(0), 20, 8)
    assert (fit.core.numpy()[copies] == 0).all()


@pytest.mark.parametrize(
    ("points", "numbers"),
    [
        (np.ones((100, 4)), {-1}),  # all the same: no split, so no cluster
        (np.random.default_rng(0).standard_normal((200, 4)), {-1}),  # one cloud
        (np.random.default_rng(0).random((60, 40)), {-1}),  # only noise
        (np.repeat(np.eye(2), 50, axis=0), {0, 1}),
        (np.eye(2), {-1}),
    ],
)
def test_edge_cases_as_the_package_has_them(points, numbers):
    size = min(20, len(points))
    luck = np.random.default_rng(1).random(len(points))
    found = cluster(points.astype(np.float32), luck, min_cluster_size=size)
    assert set(found.labels) == numbers
    assert found.labels.dtype == np.int64
    assert found.agreement == 1


def test_reduction_is_held_against_the_whole(caplog):
    points, luck = clouds(1_000, 60, 6)
    with caplog.at_level(logging.INFO, clusters.__name__):
        kept = cluster(points, luck, reduction="pca", num_dimensions=60)
        lost = cluster(points, luck, reduction="pca", num_dimensions=1)
    assert kept.agreement > 0.98
    assert lost.agreement < 0.5
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_missing_umap(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        cluster(*clouds(100, 8, 2), reduction="umap", num_dimensions=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_cluster_size": 1}, "min_cluster_size is 1; allowed: 2 to 50"),
        ({"min_cluster_size": 51}, "min_cluster_size is 51; allowed: 2 to 50"),
        ({"min_samples": 0}, "min_samples is 0; allowed: 1 to inf"),
        ({"max_fitted": 24}, "max_fitted is 24; allowed: 25 to inf"),
        ({"reduction": "pca", "num_dimensions": 9}, "num_dimensions is 9; allowed: 1 to 8"),
        ({"reduction": "tsne"}, "reduction is tsne; allowed: none, pca or umap"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        cluster(*clouds(50, 8, 2), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    points, luck = clouds(50, 8, 2)
    points[7, 3] = value
    with pytest.raises(UserError, match="row 7 has values that are not finite"):
        cluster(points, luck)


def test_luck_of_another_length():
    points, luck = clouds(50, 8, 2)
    with pytest.raises(UserError, match="len.luck. is 49; allowed: 50 to 50"):
        cluster(points, luck[1:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_on_a_gpu(monkeypatch):
    points, luck = clouds(3_000, 64, 8)
    found = cluster(points, luck, max_fitted=2_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert adjusted_rand_score(cluster(points, luck, max_fitted=2_000).labels, found.labels) > 0.99
