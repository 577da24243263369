"""What there is to say of all responses of a scored pool, as plain JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.scored import Competing, competing
from nt_lightning.data.teacher_ranking import spearman
from nt_lightning.data.teacher_report import teacher_report
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.scores import Scores

POINTS = 4_000  # of a scatter plot; more are drawn by chance (our choice)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOCAL = "lalp_"
DIGITS = 6


def main_score(scores: Scores) -> str:
    """The score that a report is about: local naturalness with the widest window."""
    return [name for name in scores.names if name.startswith(LOCAL)][-1]


def score_report(pool: Pool, scores: Scores, *, seed: int = 0) -> dict[str, Any]:
    """Teachers, windows, lengths and distributions of the scores of a pool.

    Args:
        pool: The pool.
        scores: Its scores.
        seed: Seed of the bootstrap and of the points that are drawn.

    Returns:
        ``responses`` and ``unscored`` (counts by reason), ``teachers`` (``teacher_report``'s, or
        ``None`` with the reason in ``not_compared`` where no question has all teachers),
        ``windows``, ``lengths``, ``distributions`` and ``points``.
    """
    found = competing(pool, scores, np.arange(len(pool)), None, "all")
    main = main_score(scores)
    report: dict[str, Any] = {
        "score": main,
        "student": scores.info["model_name"],
        "made_by": {k: v for k, v in scores.info.items() if k not in ("sha256", "checksum")},
        "responses": len(pool),
        "unscored": _unscored(scores),
    }
    try:
        report["teachers"] = teacher_report(found, main, seed=seed)
    except UserError as error:
        report["teachers"], report["not_compared"] = None, str(error)
    report["windows"] = _windows(found, main)
    report["lengths"] = _lengths(found)
    report["distributions"] = {name: _distributions(found, name) for name in scores.names}
    report["points"] = _points(found, main, seed)
    return report


def _unscored(scores: Scores) -> dict[str, int]:
    """Responses without some score, by the kind of reason: what stands before numbers differ."""
    reasons = scores.table["unscored_reason"].drop_null().to_pylist()
    kinds = ("".join(" " if part.isdigit() else part for part in reason) for reason in reasons)
    return dict(Counter(" ".join(kind.split()) for kind in kinds).most_common())


def _windows(found: Competing, main: str) -> list[dict[str, Any]]:
    """Each window: mean by teacher, and how much it orders responses as the widest one does."""
    widest = found.better(main)
    lines = []
    for name in (name for name in found.scores.names if name.startswith(LOCAL)):
        values = found.better(name)
        means = [_mean(values[found.teachers == number]) for number in range(len(found.names))]
        lines.append(
            {
                "window": name.removeprefix(LOCAL),
                "mean": _mean(values),
                "teachers": dict(zip(found.names, means, strict=True)),
                "rank_correlation": _rounded(spearman(values, widest)),
            }
        )
    return lines


def _lengths(found: Competing) -> list[dict[str, Any]]:
    """Rank correlation of each score, higher is better, with tokens and with tokens per step."""
    lines = []
    for name in found.scores.names:
        if name == "length":
            continue
        better = found.better(name)
        lines.append(
            {
                "score": name,
                "tokens": _rounded(spearman(better, found.tokens)),
                "tokens_per_step": _rounded(spearman(better, found.step_tokens)),
            }
        )
    return lines


def _distributions(found: Competing, name: str) -> dict[str, dict[str, Any]]:
    """Quantiles of a score as it is stored, by teacher."""
    values = found.scores.column(name)[found.rows]
    lines = {}
    for number, teacher in enumerate(found.names):
        own = values[found.teachers == number]
        own = own[np.isfinite(own)]
        marks = [_rounded(float(mark)) for mark in np.quantile(own, QUANTILES)] if len(own) else []
        lines[teacher] = {"responses": len(own), "mean": _mean(own), "quantiles": marks}
    return lines


def _points(found: Competing, main: str, seed: int) -> dict[str, Any]:
    """Responses for scatter plots: the score, tokens and tokens per step."""
    better, tokens, step_tokens = found.better(main), found.tokens, found.step_tokens
    known = np.flatnonzero(np.isfinite(better) & np.isfinite(step_tokens))
    by_chance = np.argsort(found.luck(seed, "points")[known], kind="stable")
    shown: Ints = np.sort(known[by_chance[:POINTS]])
    return {
        "of": len(known),
        "teacher": found.teachers[shown].tolist(),
        "teachers": found.names,
        "score": [round(value, DIGITS) for value in better[shown].tolist()],
        "tokens": tokens[shown].astype(int).tolist(),
        "tokens_per_step": [round(value, 2) for value in step_tokens[shown].tolist()],
    }


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return _rounded(float(known.mean())) if len(known) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
