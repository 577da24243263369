"""Core distances, trees and bridges against their definitions."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from nt_lightning.data import clusters, spanning_tree
from tests.unit.data.clouds import clouds, islands


def exact_distances(points, min_samples):
    """Core distances and mutual reachability, by the definition."""
    distance = cdist(points.astype(np.float64), points.astype(np.float64))
    core = np.sort(distance, axis=1)[:, min_samples]
    return core, np.maximum(distance, np.maximum(core, core[:, None]))


def fitted_tree(monkeypatch, points, min_samples):
    """Core distances and tree of the fast fit."""
    trees = []
    made = clusters.spanning_tree
    monkeypatch.setattr(
        clusters, "spanning_tree", lambda *args: trees.append(made(*args)) or trees[0]
    )
    fit = clusters._fit(points - points.mean(0), 20, min_samples)
    return fit.core.numpy(), trees[0]


@pytest.mark.parametrize("min_samples", [1, 5, 20])
@pytest.mark.parametrize("make", [lambda: clouds(1_500, 30, 6), islands])
@pytest.mark.parametrize("block", [2**17, 2**25])
def test_core_distances_and_tree(make, min_samples, block, monkeypatch):
    """Both by their definitions, on data of which the neighbour graph is not the whole truth."""
    points, _ = make()
    bridges, made = [], spanning_tree._bridges
    monkeypatch.setattr(
        spanning_tree, "_bridges", lambda *args: bridges.append(made(*args)) or bridges[0]
    )
    monkeypatch.setattr(spanning_tree, "BLOCK", block)
    core, reach = exact_distances(points, min_samples)
    found, tree = fitted_tree(monkeypatch, points, min_samples)
    assert np.allclose(found, core, rtol=1e-4)
    assert len(bridges) == 1
    assert len(tree) == len(points) - 1
    assert tree[:, 2].sum() == pytest.approx(minimum_spanning_tree(reach).sum(), rel=1e-6)
    ends = tree[:, :2].astype(int)
    assert np.allclose(tree[:, 2], reach[ends[:, 0], ends[:, 1]], rtol=1e-4)


def test_bridges_are_the_shortest_edges():
    points, _ = islands()
    parts = np.random.default_rng(0).integers(0, 9, len(points)).clip(2) - 2  # one large part
    tensor = torch.from_numpy(points - points.mean(0))
    base = spanning_tree.Base(tensor, tensor.square().sum(1), torch.empty(2**22))
    core, reach = exact_distances(points, 5)
    edges = spanning_tree._bridges(base, core.astype(np.float32), parts)
    one, other = edges[:, :2].T.astype(int)
    found = np.full((7, 7), np.inf)
    for a, b, length in zip(parts[one], parts[other], edges[:, 2], strict=True):
        found[[a, b], [b, a]] = min(found[a, b], length)
    for a in range(7):
        for b in range(a):
            assert found[a, b] == pytest.approx(reach[parts == a][:, parts == b].min(), rel=1e-4)
