"""Means with standard errors that know which samples belong to one question."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A mean and its standard error; ``None`` where there is too little to compute it."""

    mean: float | None
    stderr: float | None


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    r"""Mean of ``values`` and its standard error, clustered by question.

    With n values :math:`s_i` of mean :math:`m` in C clusters,

    .. math:: SE = \sqrt{\frac{C}{C - 1} \frac{1}{n^2} \sum_c (\sum_{i \in c} (s_i - m))^2}

    With one value per cluster this is the usual standard deviation / sqrt(n), with n - 1 in the
    deviation.

    Args:
        values: One number per sample.
        clusters: The problem id of each sample; repeats of a problem are not independent.

    Returns:
        The mean (``None`` without values) and the standard error (``None`` under two clusters).

    Source: Miller, Adding Error Bars to Evals (arXiv:2411.00640), section 2.2; the factor
    C / (C - 1) is the usual small-sample correction and our choice.
    """
    if not values:
        return Estimate(None, None)
    mean = math.fsum(values) / len(values)
    deviations: defaultdict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        deviations[cluster] += value - mean
    count = len(deviations)
    if count < 2:
        return Estimate(mean, None)
    squares = math.fsum(deviation**2 for deviation in deviations.values())
    return Estimate(mean, math.sqrt(count / (count - 1) * squares) / len(values))
