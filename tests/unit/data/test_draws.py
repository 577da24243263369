"""Draws against their definitions."""

import numpy as np
import pytest

from nt_lightning.data.draws import even_over_groups, first_by, weighted

RNG = np.random.default_rng(0)


def test_smallest_keys_then_luck():
    keys, luck = np.array([2.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.2, 0.5])
    assert first_by(keys, luck, 2).tolist() == [2, 3]


def test_weighted_is_a_draw_one_after_the_other():
    """Every pair's probability, by the definition, against 40,000 draws."""
    weights = np.array([5.0, 3.0, 1.0, 1.0])
    share = weights / weights.sum()
    counts = np.zeros((4, 4))
    luck = RNG.random((10_000, 4))
    for row in luck:
        first, second = weighted(weights, row, 2)
        counts[first, second] += 1
    for i in range(4):
        for j in range(i + 1, 4):
            both = share[i] * share[j] / (1 - share[i]) + share[j] * share[i] / (1 - share[j])
            assert abs(counts[i, j] / len(luck) - both) < 4 * (both / len(luck)) ** 0.5


def naive_even(sizes, wanted):
    """One row to each group in turn, as long as it has any."""
    taken = [0] * len(sizes)
    while sum(taken) < wanted:
        for group, size in enumerate(sizes):
            if taken[group] < size and sum(taken) < wanted:
                taken[group] += 1
    return taken


@pytest.mark.parametrize("wanted", [0, 1, 5, 17, 40, 61])
def test_even_over_groups(wanted):
    sizes = [30, 2, 20, 9]
    groups = RNG.permutation(np.repeat(np.arange(4), sizes))
    rows = even_over_groups(groups, RNG.random(61), wanted)
    assert np.bincount(groups[rows], minlength=4).tolist() == naive_even(sizes, wanted)


@pytest.mark.parametrize("draw", [first_by, weighted, even_over_groups])
def test_nested(draw):
    luck = RNG.random(200)
    kinds = RNG.integers(0, 5, 200)
    given = kinds if draw is even_over_groups else kinds + 1.0
    subsets = [set(draw(given, luck, size)) for size in (10, 50, 120, 200)]
    assert subsets == sorted(subsets, key=len)
    assert all(a < b for a, b in zip(subsets, subsets[1:], strict=False))
