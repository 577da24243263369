"""Sets that hashes do not tell apart: every pair that is alike is among those that come out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.pool.overlap import crowds
from nt_lightning.pool.overlap.crowds import Crowd


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(crowds, "COLUMNS", 10)  # 2**24 columns are made slowly
    monkeypatch.setattr(crowds, "PRODUCTS_AT_A_TIME", 50)
    monkeypatch.setattr(crowds, "ELEMENTS_AT_A_TIME", 20)


def pairs_of(sets, threshold, clusters=None):
    sizes = np.array([len(own) for own in sets])
    elements = np.array([one for own in sets for one in sorted(own)], dtype=np.int32)
    crowd = Crowd(elements, np.cumsum(sizes) - sizes, sizes, threshold)
    clusters = np.arange(len(sets)) if clusters is None else np.array(clusters)
    found = [(ones.tolist(), others.tolist()) for ones, others in crowd.pairs(clusters)]
    pairs = [tuple(sorted(pair)) for part in found for pair in zip(*part, strict=True)]
    assert len(pairs) == len(set(pairs))
    return set(pairs)


def alike(sets, threshold):
    return {
        (one, other)
        for other in range(len(sets))
        for one in range(other)
        if len(sets[one] & sets[other]) / len(sets[one] | sets[other]) >= threshold
    }


@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=14), min_size=2, max_size=12),
    st.integers(0, 12),
    st.sampled_from([0.3, 0.55, 0.8, 1.0]),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_no_pair_that_is_alike_is_left_out(own, shared, threshold, data):
    instruction = set(range(100, 100 + shared))
    sets = [{number << 21 for number in one | instruction} for one in own]
    wanted = alike(sets, threshold)
    assert wanted <= pairs_of(sets, threshold)
    clusters = data.draw(st.lists(st.integers(0, 2), min_size=len(sets), max_size=len(sets)))
    apart = {(one, other) for one, other in wanted if clusters[one] != clusters[other]}
    assert apart <= pairs_of(sets, threshold, clusters)


def test_what_all_share_makes_no_pairs():
    rng = np.random.default_rng(0)
    shared = set(range(1000, 1015))
    sets = [shared | set(rng.integers(0, 900, 20).tolist()) for _ in range(40)]
    sets = [{number << 21 for number in own} for own in sets]
    assert alike(sets, 0.55) == set()
    assert len(pairs_of(sets, 0.55)) < 8  # of 780


def test_a_large_cluster_has_no_pairs_inside():
    sets = [{1 << 21, 2 << 21, 3 << 21, (10 + n) << 21} for n in range(6)]
    assert pairs_of(sets, 0.55, [0] * 6) == set()
    assert pairs_of(sets, 0.55, [0, 0, 0, 0, 0, 1]) == {(n, 5) for n in range(5)}
