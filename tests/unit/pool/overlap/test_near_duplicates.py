"""Similar pairs: none that are not, whatever the blocks, and hardly any that is missed."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.pool.overlap.near_duplicates import (
    Bands,
    Sketches,
    _Search,
    choose_bands,
    jaccard,
    sets_of_runs,
)

THRESHOLD = 0.55


def similar(texts, blocks=1, run=2, threshold=THRESHOLD):
    sketches = Sketches(run, choose_bands(threshold))
    for part in np.array_split(np.array(texts, dtype=object), blocks):
        sketches.add(part.tolist())
    return sketches.similar_pairs(threshold)


def exact(texts, pairs, run=2):
    sets = sets_of_runs(texts, run)
    return [jaccard(sets[one], sets[other]) for one, other in pairs]


def components(pairs, count):
    parent = list(range(count))

    def root(node):
        while parent[node] != node:
            node = parent[node]
        return node

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return [root(node) for node in range(count)]


@pytest.mark.parametrize(
    ("threshold", "bands"), [(0.55, Bands(64, 4)), (0.8, Bands(32, 8)), (1.0, Bands(1, 256))]
)
def test_bands_by_threshold(threshold, bands):
    assert choose_bands(threshold) == bands


@pytest.mark.parametrize("threshold", np.linspace(0.05, 1, 20))
def test_bands_lose_one_in_a_hundred_at_most(threshold):
    number, width = choose_bands(threshold)
    assert number * width <= 256
    assert 1 - (1 - threshold**width) ** number >= 0.99


def test_sets_by_hand():
    assert sets_of_runs(["A b, a b! c", "One", "", "3 - 4"], 2) == [
        {("a", "b"), ("b", "a"), ("b", "c")},
        {("one",)},
        set(),
        {("3", "-"), ("-", "4")},
    ]
    assert sets_of_runs(["a b c"], 1) == [{("a",), ("b",), ("c",)}]
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert jaccard(set(), set()) == 0.0


def test_the_threshold_itself_is_enough():
    words = [f"w{number}" for number in range(21)]
    text = " ".join(words)  # 20 pairs of words
    other = " ".join(words[:12])  # 11 of them: exactly 0.55
    assert exact([text, other], [(0, 1)]) == [0.55]
    assert similar([text, other]).tolist() == [[0, 1]]
    assert similar([text, " ".join(words[:11])]).tolist() == []


def test_equal_words_are_found_at_any_threshold():
    texts = ["What is 3 + 4?", "what is  3 + 4", "What is 3 - 4?", "", "?", "Why?", "why"]
    for threshold in (0.8, 1.0):
        assert similar(texts, threshold=threshold).tolist() == [[0, 1], [5, 6]]


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join), min_size=1, max_size=12),
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_pairs_are_similar_and_connect_all_that_are(texts, run):
    pairs = similar(texts, run=run).tolist()
    assert all(share >= THRESHOLD for share in exact(texts, pairs, run))
    everyone = [(a, b) for a in range(len(texts)) for b in range(a)]
    alike = [
        pair
        for pair, share in zip(everyone, exact(texts, everyone, run), strict=True)
        if share >= 0.8  # one in 10^14 is missed
    ]
    found, wanted = components(pairs, len(texts)), components([*pairs, *alike], len(texts))
    assert found == wanted


def planted(count, seed=0):
    """Texts of random words and a copy of each with some of the words changed."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(3000)]
    texts = []
    for _ in range(count):
        text = rng.choices(words, k=rng.randint(8, 90))
        share = rng.uniform(0, 0.35)
        texts += [text, [rng.choice(words) if rng.random() < share else one for one in text]]
    return [" ".join(text) for text in texts]


def test_planted_pairs_are_found_and_no_others():
    texts = planted(1500)
    pairs = [(number, number + 1) for number in range(0, len(texts), 2)]
    alike = {pair for pair, share in zip(pairs, exact(texts, pairs), strict=True) if share >= 0.55}
    found = {tuple(pair) for pair in similar(texts).tolist()}
    assert found <= alike
    assert len(alike) > 600
    assert len(alike - found) <= 0.005 * len(alike)


def test_blocks_change_nothing():
    texts = planted(200) * 3
    random.Random(1).shuffle(texts)
    whole = similar(texts)
    assert len(whole) > 200
    for blocks in (2, 7, 600):
        assert np.array_equal(similar(texts, blocks), whole)


def test_an_instruction_that_all_share_makes_no_candidates(monkeypatch):
    """Half of each text is an instruction: many hashes are the same, hardly a pair is alike."""
    rng = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    shared = " ".join(f"please{number}" for number in range(17))
    texts = [f"{shared} {' '.join(rng.choices(words, k=14))}" for _ in range(2000)]
    texts += [f"{text} indeed" for text in texts[:100]]
    compared = []
    alike = _Search._are_alike

    def counted(search, ones, others):
        compared.append(len(ones))
        return alike(search, ones, others)

    monkeypatch.setattr(_Search, "_are_alike", counted)
    pairs = similar(texts)
    assert sorted(map(tuple, pairs.tolist())) == [(n, 2000 + n) for n in range(100)]
    assert sum(compared) < 100 * len(texts)  # of 1,050 for each text
