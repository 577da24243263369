"""Two runs on the same problems: is the difference more than chance?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr
from scipy.stats import binomtest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import Sample
from nt_lightning.evaluation.statistics import Interval, clustered_mean, t_interval


@dataclass(frozen=True)
class Comparison:
    """Two runs over one benchmark, paired by problem; differences are second - first.

    Every common problem has the same weight, whatever the number of its responses; a response
    without a right answer is wrong, as in ``Result.accuracy``.

    Args:
        benchmark: Name of the benchmark.
        num_problems: Problems with an evaluated response in both.
        only_first: Problems with one in the first alone; they are not compared.
        only_second: Problems with one in the second alone.
        first_accuracy: Mean over the common problems of the share of right responses, in [0, 1].
        second_accuracy: The same of the second.
        difference: ``second_accuracy - first_accuracy``.
        stderr: Its standard error, clustered by problem; ``None`` with one problem.
        interval: Its 95 % interval by ``t_interval``, not clipped.
        p_value: Two-sided, of the paired t-test; ``None`` where all problems differ alike.
        gained: Ids, in the first's order, whose share of right responses is higher in the second;
            with one response each: wrong in the first, right in the second.
        lost: Ids whose share is lower.
        mcnemar_p: Two-sided, of McNemar's exact test, whose discordant counts are the lengths of
            ``gained`` and ``lost``; ``None`` where a problem has more than one response.
    """

    benchmark: str
    num_problems: int
    only_first: int
    only_second: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    stderr: float | None
    interval: Interval | None
    p_value: float | None
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    mcnemar_p: float | None


def compare(first: Sequence[Sample], second: Sequence[Sample]) -> Comparison:
    """Compare two runs over one benchmark, problem by problem.

    Args:
        first: Samples of one benchmark, mode and stage; those not evaluated count nowhere.
        second: Samples of the same benchmark; mode and stage may be others.

    Raises:
        UserError: A side has no samples or mixes several modes or stages, the benchmarks differ,
            or no problem is evaluated in both.

    Source: Miller, Adding Error Bars to Evals (arXiv:2411.00640), section 4, for the paired
    difference; McNemar (1947) with the exact binomial distribution.
    """
    benchmark = _benchmark_of(first, "first")
    if (other := _benchmark_of(second, "second")) != benchmark:
        raise UserError(f"first is of benchmark {benchmark!r}, second of {other!r}; allowed: one")
    sides = _verdicts(first), _verdicts(second)
    common = [name for name in sides[0] if name in sides[1]]
    if not common:
        raise UserError(
            f"{benchmark}: none of the {len(sides[0])} problems that are evaluated in the first is "
            f"among the {len(sides[1])} of the second; there is nothing to compare"
        )
    shares_2C = np.array([[np.mean(side[name]) for name in common] for side in sides])
    changes_C = shares_2C[1] - shares_2C[0]
    estimate = clustered_mean(changes_C, common)
    gained = tuple(name for name, change in zip(common, changes_C, strict=True) if change > 0)
    lost = tuple(name for name, change in zip(common, changes_C, strict=True) if change < 0)
    single = all(len(side[name]) == 1 for side in sides for name in common)
    return Comparison(
        benchmark=benchmark,
        num_problems=len(common),
        only_first=len(sides[0]) - len(common),
        only_second=len(sides[1]) - len(common),
        first_accuracy=float(shares_2C[0].mean()),
        second_accuracy=float(shares_2C[1].mean()),
        difference=float(changes_C.mean()),
        stderr=estimate.stderr,
        interval=t_interval(estimate, len(common)),
        p_value=_t_test(float(changes_C.mean()), estimate.stderr, len(common)),
        gained=gained,
        lost=lost,
        mcnemar_p=_mcnemar(len(gained), len(lost)) if single else None,
    )


def _benchmark_of(samples: Sequence[Sample], side: str) -> str:
    kinds = sorted({(s.benchmark, s.mode, s.stage) for s in samples})
    if len(kinds) != 1:
        found = ", ".join(map("/".join, kinds)) or "no samples"
        raise UserError(f"{side} has {found}; allowed: one benchmark, mode and stage")
    return kinds[0][0]


def _verdicts(samples: Sequence[Sample]) -> dict[str, list[bool]]:
    """Whether each evaluated response is right, by problem."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for sample in samples:
        if sample.outcome != "not_evaluated":
            found[sample.problem_id].append(sample.correct is True)
    return dict(found)


def _t_test(difference: float, stderr: float | None, num_problems: int) -> float | None:
    if not stderr:
        return None
    return 2 * float(stdtr(num_problems - 1, -abs(difference) / stderr))


def _mcnemar(gained: int, lost: int) -> float:
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
