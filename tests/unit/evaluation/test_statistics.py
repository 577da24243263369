"""Means, intervals and votes against closed forms, scipy, naive loops and simulation."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from nt_lightning.evaluation.statistics import (
    Estimate,
    Interval,
    PassAt,
    bootstrap_interval,
    clustered_mean,
    majority_share,
    pass_at_k,
    percentiles,
    t_interval,
)


def test_one_value_per_cluster_is_the_usual_standard_error() -> None:
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    mean, stderr = clustered_mean(values, range(5))
    assert mean == pytest.approx(0.6)
    assert stderr == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_equal_repeats_are_worth_one_question() -> None:
    """Four equal answers to each of three questions: the standard error of three values."""
    once = clustered_mean([1.0, 0.0, 0.0], "abc")
    repeated = clustered_mean([1.0] * 4 + [0.0] * 8, "aaaabbbbcccc")
    assert repeated.mean == pytest.approx(once.mean)
    assert repeated.stderr == pytest.approx(once.stderr)


def test_two_clusters_by_hand() -> None:
    # mean 0.5; deviations: a +0.5 +0.5 = 1, b -0.5 +0.5 -0.5 -0.5 = -1; sqrt(2/1 * 2) / 6
    mean, stderr = clustered_mean([1, 1, 0, 1, 0, 0], "aabbbb")
    assert mean == 0.5
    assert stderr == pytest.approx(2 / 6)


def test_against_the_double_sum_of_the_paper() -> None:
    generator = np.random.default_rng(0)
    values = generator.random(40)
    clusters = generator.integers(0, 9, 40)
    deviation = values - values.mean()
    same = clusters[:, None] == clusters[None, :]
    count = len(set(clusters))
    expected = np.sqrt((np.outer(deviation, deviation) * same).sum() * count / (count - 1)) / 40
    assert clustered_mean(list(values), list(clusters)).stderr == pytest.approx(expected)


def test_nothing_and_one_question() -> None:
    assert clustered_mean([], []) == Estimate(None, None)
    assert clustered_mean([1.0, 0.0], "aa") == Estimate(0.5, None)
    assert clustered_mean([1.0, 1.0], "ab") == Estimate(1.0, 0.0)
    for values, clusters in (([], []), ([1.0, 0.0], "aa"), ([1.0, 1.0], "ab")):
        assert t_interval(clustered_mean(values, clusters), len(set(clusters))) is None
        assert bootstrap_interval(values, clusters, seed=0) is None


def test_no_spread_is_exactly_none() -> None:
    """1 of 49 right in every cluster, where 1 - 49 * (1 / 49) is not zero in floating point."""
    values, clusters = ([1.0] + [0.0] * 48) * 4, np.repeat(np.arange(4), 49)
    assert 1 - 49 * (1 / 49) != 0
    assert clustered_mean(values, clusters).stderr == 0
    assert bootstrap_interval(values, clusters, seed=0) is None


def test_as_many_values_as_clusters() -> None:
    with pytest.raises(ValueError, match="same length"):
        clustered_mean([1.0], "ab")


def test_t_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(size=12)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    got = t_interval(clustered_mean(values, range(12)), 12)
    assert got == pytest.approx((expected.low, expected.high))


def test_bootstrap_takes_clusters_whole() -> None:
    """Two clusters of three and one values: the four equally likely draws have four means."""
    values, clusters = [1.0, 1.0, 0.0, 0.0], "aaab"
    # aa: 2/3, ab and ba: 2/4, bb: 0
    assert bootstrap_interval(values, clusters, seed=0) == Interval(0, pytest.approx(2 / 3))


def test_bootstrap_is_that_of_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=60)
    got = bootstrap_interval(values, range(60), seed=0, draws=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert got == pytest.approx((expected.low, expected.high), abs=0.05 * values.std() / 60**0.5)


def test_bootstrap_depends_on_seed_and_not_on_order() -> None:
    values, clusters = np.random.default_rng(3).random(50), np.arange(50) // 2
    back = bootstrap_interval(values[::-1], clusters[::-1], seed=4)
    assert bootstrap_interval(values, clusters, seed=4) == pytest.approx(back)
    assert bootstrap_interval(values, clusters, seed=5) != pytest.approx(back)


def test_bootstrap_of_the_largest_benchmark_is_small() -> None:
    values = np.random.default_rng(4).integers(0, 2, 26_529)
    tracemalloc.start()
    try:
        interval = bootstrap_interval(values, np.arange(26_529), seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert interval is not None
    normal = 2 * 1.96 * values.std() / 26_529**0.5
    assert interval.high - interval.low == pytest.approx(normal, rel=0.1)
    assert peak < 200e6


@pytest.mark.parametrize("accuracy", [0.3, 0.5, 0.8])
def test_coverage_of_both_intervals(accuracy: float) -> None:
    """2,000 evaluations of 100 problems, some of which are hard: 1 to 8 correlated repeats each."""
    generator = np.random.default_rng(int(100 * accuracy))
    covered = np.zeros(2)
    replications, num_problems = 2000, 100
    for replication in range(replications):
        ease = generator.beta(accuracy, 1 - accuracy, num_problems)  # its mean is the accuracy
        clusters = np.repeat(np.arange(num_problems), generator.integers(1, 9, num_problems))
        right = generator.random(len(clusters)) < ease[clusters]
        intervals = (
            t_interval(clustered_mean(right, clusters), num_problems),
            bootstrap_interval(right, clusters, seed=replication, draws=1000),
        )
        covered += [i is not None and i.low <= accuracy <= i.high for i in intervals]
    shares = covered / replications
    assert ((shares >= 0.93) & (shares <= 0.97)).all(), shares


def test_ignoring_repeats_would_not_cover() -> None:
    """The simulation can tell: the same samples taken as independent cover far too rarely."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        ease = generator.beta(0.5, 0.5, 100)
        right = generator.random(800) < np.repeat(ease, 8)
        interval = t_interval(clustered_mean(right, range(800)), 800)
        covered += interval is not None and interval.low <= 0.5 <= interval.high
    assert covered / 300 < 0.8


def test_pass_at_k_is_the_share_of_all_draws() -> None:
    right = [[1, 0, 0, 1, 0], [0] * 5, [1] * 5, [0, 1, 0], [1, 0]]
    num_right, num_responses = (np.array([f(r) for r in right]) for f in (sum, len))
    for k in (1, 2, 3, 4, 5):
        shares = [np.mean([any(d) for d in itertools.combinations(r, k)]) for r in right[:3]]
        shares += [
            np.mean([any(d) for d in itertools.combinations(r, k)])
            for r in right[3:]
            if len(r) >= k
        ]
        got = pass_at_k(num_right, num_responses, k)
        assert got == (pytest.approx(np.mean(shares)), len(shares))
    assert pass_at_k(num_right, num_responses, 6) == PassAt(None, 0)


def test_pass_at_k_of_many_responses_is_the_binomials() -> None:
    for right, total, k in ((3, 1000, 512), (0, 200, 64), (199, 200, 2), (17, 64, 32)):
        expected = 1 - math.comb(total - right, k) / math.comb(total, k)
        assert pass_at_k(np.array([right]), np.array([total]), k).share == pytest.approx(expected)


@pytest.mark.parametrize(
    ("votes", "share"),
    [
        ("rrx", 1),
        ("rxx", 0),
        ("rx", 1 / 2),
        ("rxy", 1 / 3),
        ("rrxxy", 1 / 2),
        ("xxyyr", 0),
        ("", 0),
        ("x", 0),
        ("r", 1),
    ],
)
def test_majority_of_one_problem(votes: str, share: float) -> None:
    answers = np.array([ord(vote) for vote in votes], dtype=np.int64)
    got = majority_share(np.zeros(len(votes), dtype=np.int64), answers, answers == ord("r"), 1)
    assert got == pytest.approx(share)


def test_majority_against_a_loop() -> None:
    generator = np.random.default_rng(5)
    problems = generator.integers(0, 40, 150)
    answers = generator.integers(-3, 2, 150)
    right = answers == -3
    total = 0.0
    for problem in range(40):
        votes = Counter(answers[problems == problem].tolist())
        leaders = [answer for answer, count in votes.items() if count == max(votes.values())]
        total += leaders.count(-3) / len(leaders) if leaders else 0
    assert majority_share(problems, answers, right, 40) == pytest.approx(total / 40)
    assert majority_share(problems, answers, right, 80) == pytest.approx(total / 80)


def test_majority_without_problems_is_none() -> None:
    nothing = np.array([], dtype=np.int64)
    assert majority_share(nothing, nothing, nothing, 0) is None


def test_percentiles_by_hand() -> None:
    assert percentiles(range(101)) == {10: 10, 50: 50, 90: 90, 99: 99}
    assert percentiles([7]) == {10: 7, 50: 7, 90: 7, 99: 7}
    assert percentiles([]) == {}
