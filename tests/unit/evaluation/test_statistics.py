"""Clustered standard errors against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from nt_lightning.evaluation.statistics import Estimate, clustered_mean


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
