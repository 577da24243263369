"""From the responses of one benchmark, mode and stage to their numbers; the one arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import OUTCOMES
from nt_lightning.evaluation.responses import Ints, Responses
from nt_lightning.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    clustered_mean,
    majority_share,
    pass_at_k,
    percentiles,
    t_interval,
)

BOOTSTRAP_SEED = 0


@dataclass
class DomainResult:
    """The problems of one domain.

    Args:
        accuracy: As in ``Result``.
        stderr: Its standard error, clustered by problem; ``None`` with one problem.
        num_problems: Problems with at least one evaluated response.
    """

    accuracy: float | None
    stderr: float | None
    num_problems: int


@dataclass  # not frozen: torchmetrics copies what a metric computes field by field
class Result:
    """A benchmark in a mode at a stage; shares and accuracy in [0, 1].

    Args:
        benchmark: Name of the benchmark.
        mode: Think mode.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        step: Optimizer steps done.
        num_problems: Problems with at least one evaluated response.
        accuracy: Right answers / evaluated responses. A truncated, looped or unparsed response is
            not right, so that a mode cannot gain by not answering; ``outcomes`` tells how many
            there are (our choice).
        accuracy_stderr: Its standard error, clustered by problem.
        obedience: Share of responses that kept to their mode; ``None`` for Adaptive.
        think_share: Share of responses with a think block.
        mean_response_tokens: Mean of the generated tokens.
        outcomes: Share of each of the four outcomes.
        num_responses: Evaluated responses; ``None`` in files that did not know it, as all below.
        num_unfinished: Responses that a limit in time or tokens has cut; they count nowhere.
        accuracy_interval: 95 % interval of the accuracy by ``t_interval``, clipped to [0, 1].
        accuracy_bootstrap: 95 % interval of the accuracy by ``bootstrap_interval``.
        accuracy_answered: Right answers / answered responses.
        accuracy_answered_stderr: Its standard error, clustered by problem.
        ungraded: Share of responses with an answer on which there is no verdict; they count as
            not right.
        pass_at: pass@k by k = 1, 2, 4, ... up to the most responses that a problem has.
        pass_at_problems: Problems with at least k responses, which are those that count, by k.
        majority: Share of problems whose most frequent answer is right; ``None`` where no problem
            has two responses.
        response_tokens: Percentiles 10, 50, 90 and 99 of the generated tokens.
        domains: Results by domain; problems without a domain are in none.
        num_reused: Responses that came from the cache.
    """

    benchmark: str
    mode: str
    stage: str
    step: int
    num_problems: int
    accuracy: float | None
    accuracy_stderr: float | None
    obedience: float | None
    think_share: float | None
    mean_response_tokens: float | None
    outcomes: dict[str, float]
    num_responses: int | None = None
    num_unfinished: int | None = None
    accuracy_interval: Interval | None = None
    accuracy_bootstrap: Interval | None = None
    accuracy_answered: float | None = None
    accuracy_answered_stderr: float | None = None
    ungraded: float | None = None
    pass_at: dict[int, float] = field(default_factory=dict)
    pass_at_problems: dict[int, int] = field(default_factory=dict)
    majority: float | None = None
    response_tokens: dict[int, float] = field(default_factory=dict)
    domains: dict[str, DomainResult] = field(default_factory=dict)
    num_reused: int | None = None


def summarise(
    responses: Responses,
    domains: Sequence[str],
    *,
    benchmark: str,
    mode: str,
    stage: str,
    step: int,
) -> Result:
    """The result of one benchmark in one mode at one stage.

    Args:
        responses: In any order; those that are not evaluated count nowhere.
        domains: Domain of each problem, by its index; empty where it has none.
        benchmark: Name of the benchmark.
        mode: Think mode.
        stage: Stage of the run.
        step: Optimizer steps done.

    Raises:
        UserError: Two responses have one problem and repeat.
    """
    _check_once(responses, f"{benchmark} in {mode} at {stage}")
    evaluated = Responses(*(column[responses.outcome >= 0] for column in responses))
    right = (evaluated.correct == 1).astype(np.float64)
    answered = evaluated.outcome == OUTCOMES.index("answered")
    _, num_responses_C = np.unique(evaluated.problem, return_counts=True)
    accuracy = clustered_mean(right, evaluated.problem)
    accuracy_answered = clustered_mean(right[answered], evaluated.problem[answered])
    asked = evaluated.obedient[evaluated.obedient >= 0]
    return Result(
        benchmark=benchmark,
        mode=mode,
        stage=stage,
        step=step,
        num_problems=len(num_responses_C),
        accuracy=accuracy.mean,
        accuracy_stderr=accuracy.stderr,
        obedience=_mean(asked),
        think_share=_mean(evaluated.opened_think),
        mean_response_tokens=_mean(evaluated.num_tokens),
        outcomes={
            outcome: _mean(evaluated.outcome == number) or 0.0
            for number, outcome in enumerate(OUTCOMES)
        },
        num_responses=len(right),
        num_unfinished=len(responses.outcome) - len(right),
        accuracy_interval=_share_interval(t_interval(accuracy, len(num_responses_C))),
        accuracy_bootstrap=bootstrap_interval(right, evaluated.problem, seed=BOOTSTRAP_SEED),
        accuracy_answered=accuracy_answered.mean,
        accuracy_answered_stderr=accuracy_answered.stderr,
        ungraded=_mean(answered & (evaluated.correct < 0)),
        **_over_repeats(evaluated, right, answered, num_responses_C),
        response_tokens=percentiles(evaluated.num_tokens),
        domains=_by_domain(right, evaluated.problem, domains),
    )


def _over_repeats(
    evaluated: Responses, right: NDArray[np.float64], answered: NDArray[Any], num_responses_C: Ints
) -> dict[str, Any]:
    """What the repeats of a problem say together: pass@k and the majority."""
    most = int(num_responses_C.max(initial=0))
    _, problem = np.unique(evaluated.problem, return_inverse=True)
    num_right_C = np.bincount(problem, right, len(num_responses_C))
    powers = [2**exponent for exponent in range(most.bit_length())]
    pass_at = {k: pass_at_k(num_right_C, num_responses_C, k) for k in powers}
    majority = majority_share(
        problem[answered],
        evaluated.answer_class[answered],
        right[answered],
        len(num_responses_C),
    )
    return {
        "pass_at": {k: found.share for k, found in pass_at.items()},
        "pass_at_problems": {k: found.num_problems for k, found in pass_at.items()},
        "majority": majority if most > 1 else None,
    }


def _by_domain(
    right: NDArray[np.float64], problem: Ints, domains: Sequence[str]
) -> dict[str, DomainResult]:
    names, domain = np.unique(np.array(domains)[problem], return_inverse=True)
    found = {}
    for number, name in enumerate(names.tolist()):
        if name:
            own = domain == number
            accuracy = clustered_mean(right[own], problem[own])
            found[name] = DomainResult(*accuracy, len(np.unique(problem[own])))
    return found


def _check_once(responses: Responses, where: str) -> None:
    pairs = np.stack([responses.problem, responses.repeat], axis=1)
    surplus = len(pairs) - len(np.unique(pairs, axis=0))
    if surplus:
        raise UserError(
            f"{surplus} of {len(pairs)} responses of {where} are there twice; allowed: one for "
            "each problem and repeat"
        )


def _share_interval(interval: Interval | None) -> Interval | None:
    return interval and Interval(max(0.0, interval.low), min(1.0, interval.high))


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.sum()) / len(values) if len(values) else None
