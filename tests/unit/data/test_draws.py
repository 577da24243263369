"""Draws against their definitions."""

import numpy as np
import pytest

from nt_lightning.data.draws import even_over_groups, first_by, take_turns, thinned, weighted

RNG = np.random.default_rng(0)


def test_smallest_keys_then_luck():
    keys, luck = np.array([2.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.2, 0.5])
    assert first_by(keys, luck).tolist() == [3, 2, 1, 0]


def test_weighted_is_a_draw_one_after_the_other():
    """Every pair's probability, by the definition, against 40,000 draws."""
    weights = np.array([5.0, 3.0, 1.0, 1.0])
    share = weights / weights.sum()
    counts = np.zeros((4, 4))
    luck = RNG.random((10_000, 4))
    for row in luck:
        first, second = sorted(weighted(weights, row)[:2])
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
    rows = even_over_groups(groups, RNG.random(61))[:wanted]
    assert np.bincount(groups[rows], minlength=4).tolist() == naive_even(sizes, wanted)


def test_thinned_keeps_with_its_probability():
    weights = np.repeat([0.1, 0.5, 1.0], 20_000)
    kept = np.bincount(thinned(weights, RNG.random(60_000)) // 20_000)
    for got, share in zip(kept, (0.1, 0.5, 1.0), strict=True):
        assert abs(got - 20_000 * share) <= 4 * (20_000 * share * (1 - share)) ** 0.5


def naive_turns(orders, shares, size):
    """By the definition, with lists."""
    orders, counts, out = [list(order) for order in orders], [0] * len(orders), []
    while len(out) < size:
        behind = [(count + 0.5) / share for count, share in zip(counts, shares, strict=True)]
        part = behind.index(min(behind))
        free = [row for row in orders[part] if row not in [taken for taken, _ in out]]
        if not free:
            break
        out.append((free[0], part))
        counts[part] += 1
    return out


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.7, 0.2, 0.1]])
@pytest.mark.parametrize("size", [0, 1, 10, 60])
def test_parts_take_turns(shares, size):
    orders = [RNG.permutation(60)[:count] for count in (60, 25, 40)[: len(shares)]]
    turns = take_turns(orders, shares, 60, size)
    assert list(zip(*map(list, turns), strict=True)) == naive_turns(orders, shares, size)
