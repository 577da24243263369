"""Rankings of teachers by scores, with their uncertainty: pure functions of arrays.

Scores are higher where they are better. P questions, K teachers, N responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.traces.scores import Ratio

DRAWS = 10_000
COVERED = 0.95  # share of the intervals
WEIGHTS = 2**22  # in memory at a time: 32 MB
# Questions up to which each is drawn by itself, and pairs of which a rank correlation is taken (our
# choices): more take minutes and change nothing that is shown.
MOST_DRAWN = 5_000
MOST_PAIRS = 200_000


class Interval(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


class TeacherRanking(NamedTuple):
    """Teachers under one score.

    Args:
        num_prompts: Questions for which all of them have the score; no others are counted.
        order: Teachers, best first, [K].
        mean: Score of each teacher over these questions, [K].
        low: Lower end of its 95 % interval, [K].
        high: Upper end, [K].
        best: Probability of being the best: share of the draws, [K]; equals share a draw.
        gap: Score of the best minus that of the second; ``None`` with one teacher.
    """

    num_prompts: int
    order: Ints
    mean: Floats
    low: Floats
    high: Floats
    best: Floats
    gap: Interval | None


def grid_of(
    ratio: Ratio, prompts: Ints, teachers: Ints, num_prompts: int, num_teachers: int
) -> Ratio:
    """Scores by question and teacher, both parts [P, K]; NaN where there is none.

    Several responses of a teacher to a question count as their mean (our choice), so that every
    question weighs the same.

    Args:
        ratio: Score of each response, [N]; NaN where there is none.
        prompts: Number of each one's question, [N].
        teachers: Number of each one's teacher, [N].
        num_prompts: P.
        num_teachers: K.
    """
    known = np.isfinite(ratio.numerator) & np.isfinite(ratio.denominator)
    cells = (prompts * num_teachers + teachers)[known]
    size = num_prompts * num_teachers
    counts = np.bincount(cells, minlength=size)
    with np.errstate(invalid="ignore"):
        parts = [np.bincount(cells, part[known], size) / counts for part in ratio]
    return Ratio(*(part.reshape(num_prompts, num_teachers) for part in parts))


def rank_teachers(
    grids: Mapping[str, Ratio], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, TeacherRanking]:
    """Teachers ranked by each score, over the questions for which all of them have that score.

    The score of a teacher is the ratio of the sums over questions, so the mean for all but RSR.
    The bootstrap draws questions, the same ones for all teachers (paired) and for all scores that
    have the same questions. Percentile intervals and 10,000 draws are our choice, and that of
    more than ``MOST_DRAWN`` questions groups are drawn (``in_groups``).

    Args:
        grids: Each score's parts, [P, K], from ``grid_of``; the order of the questions matters to
            the draws.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        A ranking for each score that has a question in common; the others are left out.

    Source: mean per teacher, arXiv:2510.03988; ratio of the sums for RSR, arXiv:2601.14249.
    """
    groups: dict[bytes, list[str]] = {}
    for name, grid in grids.items():
        common = np.isfinite(grid.numerator).all(1)
        if common.any():
            groups.setdefault(common.tobytes(), []).append(name)
    found = {}
    for mask, names in groups.items():
        common = np.frombuffer(mask, dtype=bool)
        parts = [np.stack([grids[name][part][common] for name in names], 1) for part in (0, 1)]
        means = parts[0].sum(0) / parts[1].sum(0)  # [S, K]
        drawn = bootstrap(in_groups(Ratio(*parts), seed), draws=draws, seed=seed)
        for number, name in enumerate(names):
            found[name] = _ranking(means[number], drawn[:, number], int(common.sum()))
    return {name: found[name] for name in grids if name in found}


def bootstrap(parts: Ratio, *, draws: int, seed: int) -> Floats:
    """Ratios of the sums over questions drawn with replacement, [draws, ...].

    Args:
        parts: Numerators and denominators, [P, ...].
        draws: How often P questions are drawn.
        seed: Seed of the draws.
    """
    total, *shape = parts.numerator.shape
    flat = [part.reshape(total, -1) for part in parts]
    blocks = [
        (weights @ flat[0]) / (weights @ flat[1])
        for weights in _bootstrap_weights(total, draws, seed)
    ]
    return np.concatenate(blocks).reshape(draws, *shape)


def in_groups(parts: Ratio, seed: int) -> Ratio:
    """Sums over ``MOST_DRAWN`` groups of questions by chance, where there are more questions.

    Groups vary as their questions do, so that ratios of sums of drawn groups spread as those of
    drawn questions, and what is equal or paired stays so (our choice).

    Args:
        parts: Numerators and denominators, [P, ...].
        seed: Seed of the groups.
    """
    total = len(parts.numerator)
    if total <= MOST_DRAWN:
        return parts
    order = np.random.default_rng(seed).permutation(total)
    starts = np.arange(MOST_DRAWN) * total // MOST_DRAWN
    return Ratio(*(np.add.reduceat(part[order], starts) for part in parts))


def _bootstrap_weights(total: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of ``total`` questions was drawn, blocks of [B, P]: multinomial."""
    generator = np.random.default_rng(seed)
    size = max(1, WEIGHTS // total)
    for first in range(0, draws, size):
        lines = min(size, draws - first)
        places = generator.integers(0, total, (lines, total))
        places += np.arange(lines)[:, None] * total
        counts = np.bincount(places.reshape(-1), minlength=lines * total)
        yield counts.reshape(lines, total).astype(np.float64)


def _ranking(mean: Floats, drawn: Floats, num_prompts: int) -> TeacherRanking:
    """A ranking from the teachers' scores, [K], and the drawn ones, [draws, K]."""
    order = np.argsort(-mean, kind="stable")
    low, high = _ends(drawn)
    is_best = drawn == drawn.max(1, keepdims=True)
    best = (is_best / is_best.sum(1, keepdims=True)).mean(0)
    gap = None
    if len(order) > 1:
        first, second = order[:2]
        ends = _ends(drawn[:, first] - drawn[:, second])
        gap = Interval(float(mean[first] - mean[second]), *map(float, ends))
    return TeacherRanking(num_prompts, order, mean, low, high, best, gap)


def _ends(drawn: Floats) -> Floats:
    """Ends of the 95 % interval of draws, [2, ...]."""
    tail = (1 - COVERED) / 2
    return np.quantile(drawn, [tail, 1 - tail], axis=0)


def spearman(one: Floats, two: Floats) -> float | None:
    """Spearman's rank correlation over the pairs without a NaN; ties have their mean rank.

    ``None`` with fewer than two pairs or where one side is constant. Of more than ``MOST_PAIRS``
    it is that of as many by chance, the same ones each time.
    """
    known = np.flatnonzero(np.isfinite(one) & np.isfinite(two))
    if len(known) > MOST_PAIRS:
        known = np.random.default_rng(0).choice(known, MOST_PAIRS, replace=False)
    return pearson(_ranks(one[known]), _ranks(two[known]))


def kendall(one: Floats, two: Floats) -> float | None:
    """Kendall's tau-b of two short lists of [K]; ``None`` where one side is constant."""
    above = np.triu_indices(len(one), 1)
    signs = [np.sign(part[above[0]] - part[above[1]]) for part in (one, two)]
    scale = float(np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum()))
    return float((signs[0] * signs[1]).sum()) / scale if scale else None


def pearson(one: Floats, two: Floats) -> float | None:
    """Pearson's correlation; ``None`` with fewer than two pairs or where one side is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    one, two = one - one.mean(), two - two.mean()
    return float((one @ two) / np.sqrt((one @ one) * (two @ two)))


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[places]


def within_groups(values: Floats, groups: Ints) -> Floats:
    """Ranks within each group, centred: what is left of a value beyond its group, [N].

    Args:
        values: Without NaN, [N].
        groups: Number of each one's group, [N].
    """
    left = np.empty(len(values))
    for group in np.unique(groups):
        own = groups == group
        ranks = _ranks(values[own])
        left[own] = (ranks - ranks.mean()) / own.sum()
    return left
