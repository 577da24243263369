"""Means, intervals and votes that know which samples belong to one question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Numbers = Sequence[float] | NDArray[Any]
Clusters = Sequence[str] | Sequence[int] | NDArray[Any]

CONFIDENCE = 0.95
PERCENTILES = (10, 50, 90, 99)
_CHOSEN_AT_A_TIME = 2**21  # clusters of a bootstrap in memory, 16 MB each for sums and counts


class Estimate(NamedTuple):
    """A mean and its standard error; ``None`` where there is too little to compute it."""

    mean: float | None
    stderr: float | None


class Interval(NamedTuple):
    """Both ends of a 95 % interval."""

    low: float
    high: float


class PassAt(NamedTuple):
    """pass@k in [0, 1], and over how many problems; ``None`` over none."""

    share: float | None
    num_problems: int


def clustered_mean(values: Numbers, clusters: Clusters) -> Estimate:
    r"""Mean of ``values`` and its standard error, clustered by question.

    With n values :math:`s_i` of mean :math:`m` in C clusters,

    .. math:: SE = \sqrt{\frac{C}{C - 1} \frac{1}{n^2} \sum_c (\sum_{i \in c} (s_i - m))^2}

    With one value per cluster this is the usual standard deviation / sqrt(n), with n - 1 in the
    deviation.

    Args:
        values: One number per sample.
        clusters: The problem of each sample, by id or index; repeats of a problem are not
            independent.

    Returns:
        The mean (``None`` without values) and the standard error (``None`` under two clusters).

    Source: Miller, Adding Error Bars to Evals (arXiv:2411.00640), section 2.2; the factor
    C / (C - 1) is the usual small-sample correction and our choice.
    """
    sums_C, counts_C = _per_cluster(values, clusters)
    if not len(sums_C):
        return Estimate(None, None)
    total, count = float(sums_C.sum()), float(counts_C.sum())
    if len(sums_C) < 2:
        return Estimate(total / count, None)
    deviations_C = sums_C * count - counts_C * total  # times n: exact for whole numbers
    squares = float(np.square(deviations_C / count).sum())
    stderr = math.sqrt(len(sums_C) / (len(sums_C) - 1) * squares) / count
    return Estimate(total / count, stderr)


def t_interval(estimate: Estimate, num_clusters: int) -> Interval | None:
    r"""The 95 % interval of a clustered mean, :math:`m \pm t_{0.975, C - 1} SE`.

    Student's t with C - 1 degrees of freedom rather than the normal: with few questions the normal
    interval is too narrow, with many the two agree (our choice; 95 % within a point in simulation
    with 100 clusters of correlated repeats). It is not clipped to any range.

    Args:
        estimate: What ``clustered_mean`` gave.
        num_clusters: Its clusters, C.

    Returns:
        The interval; ``None`` without a standard error, or with one of 0: where all questions agree
        their spread is unknown.

    Source: Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference (2015),
    section VI.
    """
    if estimate.mean is None or not estimate.stderr:
        return None
    reach = float(stdtrit(num_clusters - 1, (1 + CONFIDENCE) / 2)) * estimate.stderr
    return Interval(estimate.mean - reach, estimate.mean + reach)


def bootstrap_interval(
    values: Numbers, clusters: Clusters, *, seed: int, draws: int = 2000
) -> Interval | None:
    r"""The 95 % percentile interval of the mean, from resampled questions.

    Each draw takes C of the C clusters with replacement, whole with all of their values, and has
    the mean :math:`\sum_c S_c / \sum_c n_c` of their sums and sizes.

    Args:
        values: One number per sample.
        clusters: The problem of each sample, by id or index.
        seed: Seed of the draws; the order of the samples does not matter.
        draws: Number of draws.

    Returns:
        Percentiles 2.5 and 97.5 of the draws' means, within the range of ``values``; ``None`` under
        two clusters, or where all clusters have one mean: their spread is unknown.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; of
    clusters: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
    """
    sums_C, counts_C = _per_cluster(values, clusters)
    if len(sums_C) < 2:
        return None
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    at_a_time = max(1, _CHOSEN_AT_A_TIME // len(sums_C))
    for start in range(0, draws, at_a_time):
        shape = (min(at_a_time, draws - start), len(sums_C))
        chosen = generator.integers(len(sums_C), size=shape, dtype=np.int32)
        means[start : start + shape[0]] = sums_C[chosen].sum(1) / counts_C[chosen].sum(1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high)) if low < high else None


def pass_at_k(num_right_C: NDArray[Any], num_responses_C: NDArray[Any], k: int) -> PassAt:
    r"""Chance that one of k responses to a problem is right, averaged over problems.

    With c right responses out of n, the unbiased estimate is

    .. math:: 1 - \binom{n - c}{k} / \binom{n}{k} = 1 - \prod_{i < k} \frac{n - c - i}{n - i}

    Args:
        num_right_C: Right responses of each problem, c.
        num_responses_C: Its responses, n.
        k: Responses that are drawn; 1 and more.

    Returns:
        The mean over the problems with at least k responses, and how many these are.

    Source: Chen et al., Evaluating Large Language Models Trained on Code (arXiv:2107.03374),
    equation 1.
    """
    enough_C = num_responses_C >= k
    num_problems = int(enough_C.sum())
    if not num_problems:
        return PassAt(None, 0)
    responses_C = num_responses_C[enough_C].astype(np.float64)
    wrong_C = responses_C - num_right_C[enough_C]
    all_wrong_C = np.ones(num_problems)
    for i in range(k):
        all_wrong_C *= np.maximum(wrong_C - i, 0) / (responses_C - i)
    return PassAt(float((1 - all_wrong_C).mean()), num_problems)


def majority_share(
    problems_V: NDArray[Any], answers_V: NDArray[Any], right_V: NDArray[Any], num_problems: int
) -> float | None:
    """Share of problems whose most frequent answer is right, over all of their responses.

    Where m answers share the first place, r of them right, the problem counts r / m: what breaking
    the tie by chance gives on average. A problem without a vote counts as wrong (our choice).

    Args:
        problems_V: Index of the problem of each vote.
        answers_V: Class of each vote; equal answers of a problem have equal classes.
        right_V: Whether the vote's answer is right, the same throughout a class.
        num_problems: All problems, those without a vote included.

    Returns:
        The share in [0, 1]; ``None`` without problems.

    Source: Wang et al., Self-Consistency (arXiv:2203.11171), unweighted majority; ties are ours.
    """
    if not num_problems:
        return None
    pairs, first, votes = np.unique(
        np.stack([problems_V, answers_V], axis=1), axis=0, return_index=True, return_counts=True
    )
    _, problem = np.unique(pairs[:, 0], return_inverse=True)
    most = np.zeros(len(pairs), dtype=np.int64)
    np.maximum.at(most, problem, votes)
    leads = votes == most[problem]
    leaders = np.bincount(problem, weights=leads)
    right = np.bincount(problem, weights=leads & right_V[first].astype(bool))
    return float((right / leaders).sum()) / num_problems


def percentiles(values: Numbers) -> dict[int, float]:
    """Percentiles 10, 50, 90 and 99 by linear interpolation; empty without values."""
    if not len(values):
        return {}
    found = np.percentile(np.asarray(values), PERCENTILES)
    return dict(zip(PERCENTILES, found.tolist(), strict=True))


def _per_cluster(
    values: Numbers, clusters: Clusters
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each cluster, in the order of the clusters' names."""
    names = clusters if isinstance(clusters, np.ndarray) else np.array(list(clusters))
    _, cluster, counts_C = np.unique(names, return_inverse=True, return_counts=True)
    weights = np.asarray(values, dtype=np.float64)
    sums_C = np.bincount(cluster, weights, len(counts_C)).astype(np.float64)
    return sums_C, counts_C.astype(np.float64)
