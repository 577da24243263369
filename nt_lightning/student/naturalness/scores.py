"""From token log-probabilities to the scores of a response: pure functions of arrays.

Log-probabilities are in nats. Higher is better for ``galp``, ``lalp_*`` and ``aslec_*``; lower is
better for ``rsr``, surprisal and rank. ``None`` is a score that cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.student.naturalness.layout import (
    Ints,
    ResponsePlan,
    Window,
    window_name,
    window_steps,
)

Floats = npt.NDArray[np.float64]
MAX_RANK = 100  # arXiv:2601.14249


class GlobalScores(NamedTuple):
    """Scores of the whole response behind its question.

    ``first`` and ``rest`` are mean log-probabilities of the steps' first tokens and of the others;
    ``clipped_rank_sum`` and ``surprisal_sum`` are RSR's parts: that of many responses is the
    ratio of their sums.
    """

    galp: float
    rsr: float | None
    clipped_rank_sum: float
    surprisal_sum: float
    mean_rank: float
    first: float
    rest: float | None


@dataclass(frozen=True)
class ResponseScores:
    """All scores of one response, and of its steps.

    Args:
        id: The trace's.
        num_tokens: Tokens of the response, T.
        num_steps: Steps with a token, p.
        whole: Scores of the whole response; ``None`` where it does not fit.
        ifd: Instruction-following difficulty.
        lalp: Local naturalness per window's name.
        step_starts: First character of each step in the scored text, [p].
        step_tokens: Tokens of each step, [p].
        step_galp: Mean log-probability of each step in the whole response, [p].
        step_lalp: Local log-probability of each step, [p], per window's name.
        reason: Why scores are missing.
    """

    id: str
    num_tokens: int
    num_steps: int
    whole: GlobalScores | None
    ifd: float | None
    lalp: dict[str, float | None]
    step_starts: Ints | None
    step_tokens: Ints
    step_galp: Floats | None
    step_lalp: dict[str, Floats]
    reason: str | None

    def columns(self) -> dict[str, float | int | str | None]:
        """The response's scores as columns of a pool."""
        whole = self.whole
        return {
            "galp": whole and whole.galp,
            **{f"lalp_{name}": value for name, value in self.lalp.items()},
            "rsr": whole and whole.rsr,
            "aslec_drop": whole and whole.rest,
            "ifd": self.ifd,
            "mean_surprisal": whole and -whole.galp,
            "mean_rank": whole and whole.mean_rank,
            "length": self.num_tokens,
            "scored_steps": self.num_steps,
            "clipped_rank_sum": whole and whole.clipped_rank_sum,
            "surprisal_sum": whole and whole.surprisal_sum,
            "step_first_logprob": whole and whole.first,
            "unscored_reason": self.reason,
        }


def response_scores(
    plan: ResponsePlan, values: Floats, ranks: Ints, windows: tuple[Window, ...]
) -> ResponseScores:
    """Scores of one response.

    Args:
        plan: What was computed.
        values: Log-probabilities in the plan's order, [plan.num_values]; NaN where not scored.
        ranks: Ranks of the response's tokens, [T]; empty where the whole does not fit.
        windows: Windows as the ``ScoreSpec`` has them.
    """
    lengths = plan.tokens.step_lengths
    length, steps = len(plan.tokens.response), len(lengths)
    asked = values[:length] if plan.whole else None
    alone = values[length : 2 * length] if plan.ifd else None
    local: dict[str, float | None] = {}
    per_step: dict[str, Floats] = {}
    for window in windows:
        name, size = window_name(window), window_steps(window, steps)
        local[name] = None
        if size in plan.windows:
            per_step[name] = local_scores(plan, values, size)
            local[name] = float(per_step[name].mean())
    return ResponseScores(
        id=plan.tokens.id,
        num_tokens=length,
        num_steps=steps,
        whole=None if asked is None else global_scores(asked, ranks, lengths),
        ifd=None if asked is None or alone is None else ifd(asked, alone),
        lalp=local,
        step_starts=plan.tokens.step_starts,
        step_tokens=lengths,
        step_galp=None if asked is None else step_means(asked, lengths),
        step_lalp=per_step,
        reason=plan.reason,
    )


def step_means(log_probs: Floats, step_lengths: Ints) -> Floats:
    """Mean over the tokens of each step, [p], of token log-probabilities [T]."""
    starts = np.cumsum(step_lengths) - step_lengths
    return np.add.reduceat(log_probs, starts) / step_lengths


def local_scores(plan: ResponsePlan, values: Floats, window: int) -> Floats:
    """Mean log-probability of each step behind ``window`` steps and the question, [p].

    Their unweighted mean is Local Naturalness, LALP (arXiv:2510.03988).
    """
    means = []
    for step, length in enumerate(plan.tokens.step_lengths):
        first = max(0, step - window)
        slot = plan.cells[first, step - first]
        means.append(values[slot : slot + length].mean())
    return np.array(means)


def global_scores(log_probs: Floats, ranks: Ints, step_lengths: Ints) -> GlobalScores:
    """Scores of the whole response from its tokens' log-probabilities and ranks, each [T].

    GALP is the mean log-probability, the same as GRAPE (arXiv:2502.04194). RSR
    (arXiv:2601.14249) is the sum of ranks, each at most 100, over the sum of surprisals; ``None``
    where the response has no surprisal. ``rest`` is ASLEC-drop (arXiv:2604.06834), ``None`` where
    every step is one token; that its tokens see the whole response before them is our choice.
    """
    is_first = np.zeros(len(log_probs), dtype=bool)
    is_first[np.cumsum(step_lengths) - step_lengths] = True
    clipped, surprisal = float(np.minimum(ranks, MAX_RANK).sum()), float(-log_probs.sum())
    return GlobalScores(
        galp=float(log_probs.mean()),
        rsr=clipped / surprisal if surprisal > 0 else None,
        clipped_rank_sum=clipped,
        surprisal_sum=surprisal,
        mean_rank=float(ranks.mean()),
        first=float(log_probs[is_first].mean()),
        rest=None if is_first.all() else float(log_probs[~is_first].mean()),
    )


def ifd(asked: Floats, alone: Floats) -> float | None:
    """Mean loss given the question over mean loss without it (arXiv:2308.12032).

    Both means are over the tokens that have a log-probability without the question: all but the
    first, unless ids stand in front of it (our choice). ``None`` for a response of one token.

    Args:
        asked: Log-probabilities behind the question, [T].
        alone: Log-probabilities without it, [T]; NaN where nothing predicts a token.
    """
    both = np.isfinite(alone)
    loss = -alone[both].sum()
    return float(-asked[both].sum() / loss) if loss > 0 else None


def aslec_casl(mean: Floats, first: Floats, rest: Floats, first_share: Floats) -> Floats:
    """ASLEC-casl: the score without what the number of steps explains of it, [N].

    Least squares ``mean = b1 first + b2 rest + g first_share + c`` over the pool; the score is
    ``mean - g first_share``. With fewer than four different responses, or where the columns depend
    on each other, the least-norm solution of the centred columns is taken (our choice). A row with
    a NaN is left out and stays NaN.

    Args:
        mean: A response's mean log-probability, [N].
        first: Mean over its steps' first tokens, [N].
        rest: Mean over the other tokens, [N].
        first_share: Steps / tokens, [N].

    Source: arXiv:2604.06834.
    """
    columns = np.stack([first, rest, first_share], axis=1)
    known = np.isfinite(columns).all(axis=1) & np.isfinite(mean)
    if not known.any():
        return np.full(len(mean), np.nan)
    centred = columns[known] - columns[known].mean(axis=0)
    slopes = np.linalg.lstsq(centred, mean[known] - mean[known].mean(), rcond=None)[0]
    return np.where(known, mean - slopes[2] * first_share, np.nan)
