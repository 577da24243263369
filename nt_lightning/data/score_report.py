"""What there is to say of all responses of a scored pool, as plain JSON."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.score_warnings import confounded, same_family, step_length_correlation
from nt_lightning.data.scored import Competing, competing
from nt_lightning.data.teacher_ranking import spearman
from nt_lightning.data.teacher_report import matrix_of, nothing_in_common, teacher_report
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.scores import Scores

POINTS = 4_000  # of a scatter plot; more are drawn by chance (our choice)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOCAL, SHARE = "lalp_", "pct"
DIGITS = 6


def main_score(scores: Scores) -> str:
    """The score that a report is about: local naturalness with the last window in order.

    Raises:
        UserError: There is no local score.
    """
    if not (names := local_scores(scores)):
        raise UserError(f"{scores.folder} has no local score; it has: {', '.join(scores.names)}")
    return names[-1]


def local_scores(scores: Scores) -> list[str]:
    """Local scores by their windows: numbers of steps, then shares of the steps, both ascending."""

    def width(name: str) -> tuple[bool, float]:
        window = name.removeprefix(LOCAL)
        return window.endswith(SHARE), float(window.removesuffix(SHARE))

    return sorted((name for name in scores.names if name.startswith(LOCAL)), key=width)


def score_report(pool: Pool, scores: Scores, *, seed: int = 0) -> dict[str, Any]:
    """Teachers, windows, lengths and distributions of the scores of a pool.

    Args:
        pool: The pool.
        scores: Its scores.
        seed: Seed of the bootstrap and of the points that are drawn.

    Returns:
        ``responses``, ``unscored`` (those without the main score), ``incomplete`` (those without
        some score, by the reason), ``teachers``, ``windows``, ``lengths``,
        ``distributions`` and ``points``. Where no question has all teachers, ``teachers`` is
        ``None``, ``not_compared`` the reason, and ``score_correlations`` and ``warnings``, else
        in ``teachers``, stand beside it.

    Raises:
        UserError: There is no local score, or a part of a score is missing.
    """
    found = competing(pool, scores, np.arange(len(pool)), None, "all")
    main = main_score(scores)
    report: dict[str, Any] = {
        "score": main,
        "student": scores.info["model_name"],
        "made_by": {k: v for k, v in scores.info.items() if k not in ("sha256", "checksum")},
        "responses": len(pool),
        "unscored": int((~np.isfinite(found.better(main))).sum()),
        "incomplete": _incomplete(scores),
    }
    if reason := nothing_in_common(found, main):
        report |= {"teachers": None, "not_compared": reason, **_not_compared(found, main)}
    else:
        report["teachers"] = teacher_report(found, main, seed=seed)
    report["windows"] = _windows(found)
    report["lengths"] = _lengths(found)
    report["distributions"] = {name: _distributions(found, name) for name in scores.names}
    report["points"] = _points(found, main, seed)
    return report


def _incomplete(scores: Scores) -> dict[str, int]:
    """Responses without some score, by the kind of reason: reasons differ in their numbers."""
    reasons = scores.table["unscored_reason"].drop_null().to_pylist()
    kinds = Counter(re.sub(r"\d+(, \d+)*", "…", reason) for reason in reasons)
    return dict(kinds.most_common())


def _not_compared(found: Competing, main: str) -> dict[str, Any]:
    """What ``teacher_report`` would tell that needs no comparison of teachers."""
    names = [main, *(name for name in found.scores.names if name != main)]
    better = {name: found.better(name) for name in names}
    step_length = step_length_correlation(better[main], found.step_tokens, found.teachers)
    info = found.scores.info
    warnings = [
        *same_family(str(info["model_name"]), found.names, info.get("model_type", "")),
        *confounded(main, step_length),
    ]
    return {
        "warnings": [warning._asdict() for warning in warnings],
        "score_correlations": {"spearman": matrix_of(better, spearman), "scores": names},
    }


def _windows(found: Competing) -> list[dict[str, Any]]:
    """Each window: mean by teacher, and how much it orders responses as the last one does.

    Over the responses that have every window, so that windows differ in nothing else: those that
    are too long for a wide window are no easier with a narrow one.
    """
    names = local_scores(found.scores)
    columns = {name: found.better(name) for name in names}
    known = np.isfinite(np.stack(list(columns.values()))).all(0)
    teachers, last = found.teachers[known], columns[names[-1]][known]
    lines = []
    for name, column in columns.items():
        values = column[known]
        means = [_mean(values[teachers == number]) for number in range(len(found.names))]
        lines.append(
            {
                "window": name.removeprefix(LOCAL),
                "responses": len(values),
                "mean": _mean(values),
                "teachers": dict(zip(found.names, means, strict=True)),
                "rank_correlation": _rounded(spearman(values, last)),
            }
        )
    return lines


def _lengths(found: Competing) -> list[dict[str, Any]]:
    """Rank correlation of each score, higher is better, with tokens and with tokens per step."""
    lines = []
    for name in found.scores.names:
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
    """Quantiles of a score as it is stored, by teacher; the mean of ``rsr`` is that of ratios."""
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
