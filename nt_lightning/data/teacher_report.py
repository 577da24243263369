"""What there is to say of teachers by the scores of their responses, as plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.score_warnings import (
    StepLength,
    confounded,
    same_family,
    step_length_correlation,
    uncertain,
)
from nt_lightning.data.scored import Competing
from nt_lightning.data.teacher_ranking import (
    DRAWS,
    TeacherRanking,
    grid_of,
    kendall,
    rank_teachers,
    spearman,
)
from nt_lightning.errors import UserError
from nt_lightning.traces.scores import LOWER_IS_BETTER, Ratio

DIGITS = 6
Correlation = Callable[[Floats, Floats], float | None]


def teacher_report(
    found: Competing, score: str, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Teachers ranked by every score side by side, their correlations, and warnings.

    Args:
        found: Responses that compete, of all teachers.
        score: The score that decides; it is the first in every list.
        draws: Bootstrap draws.
        seed: Their seed.

    Returns:
        ``score``, ``teacher`` (the best), ``student``, ``rankings``, ``rank_correlations`` (of the
        teachers' means), ``score_correlations`` (over responses), ``step_length``, ``warnings``.

    Raises:
        UserError: There is no such score, or no question has it for all teachers.
    """
    ratios = {score: found.ratio(score)}
    ratios |= {name: found.ratio(name) for name in found.scores.names if name not in ratios}
    rankings = _rankings(found, ratios, draws, seed)
    if score not in rankings:
        why = nothing_in_common(found, score)
        raise UserError(f"{why}; name those to compare with data.teachers")
    better = {name: found.better(name) for name in ratios}
    step_length = {
        name: step_length_correlation(values, found.step_tokens, found.teachers)
        for name, values in better.items()
    }
    student = str(found.scores.info["model_name"])
    best = rankings[score]
    warnings = [
        *same_family(student, found.names, found.scores.info.get("model_type", "")),
        *confounded(score, step_length[score]),
        *uncertain(score, best, found.names),
    ]
    return {
        "score": score,
        "teacher": found.names[best.order[0]],
        "student": student,
        "rankings": [_ranked(name, one, found.names) for name, one in rankings.items()],
        "rank_correlations": _between({name: one.mean for name, one in rankings.items()}),
        "score_correlations": {"spearman": matrix_of(better, spearman), "scores": list(better)},
        "step_length": [_step_length(name, one) for name, one in step_length.items()],
        "warnings": [warning._asdict() for warning in warnings],
    }


def _rankings(
    found: Competing, ratios: Mapping[str, Ratio], draws: int, seed: int
) -> dict[str, TeacherRanking]:
    size = int(found.prompts.max(initial=-1)) + 1, len(found.names)
    grids = {
        name: grid_of(one, found.prompts, found.teachers, *size) for name, one in ratios.items()
    }
    return rank_teachers(grids, draws=draws, seed=seed)


def _between(means: Mapping[str, Floats]) -> dict[str, Any]:
    """Correlations between rankings of the teachers."""
    found = {"spearman": matrix_of(means, spearman), "kendall": matrix_of(means, kendall)}
    return {**found, "scores": list(means)}


def nothing_in_common(found: Competing, score: str) -> str | None:
    """Why teachers cannot be compared by a score, if they cannot."""
    scored = np.isfinite(found.better(score))
    pairs = np.unique(np.stack([found.prompts[scored], found.teachers[scored]]), axis=1)
    if (np.bincount(pairs[0]) == len(found.names)).any():
        return None
    counts = np.bincount(pairs[1], minlength=len(found.names)).tolist()
    said = (f"{name}: {count:,}" for name, count in zip(found.names, counts, strict=True))
    return f"no question has {score} for all teachers (questions with it: {', '.join(said)})"


def _ranked(score: str, found: TeacherRanking, names: list[str]) -> dict[str, Any]:
    """A ranking with the score's own sign; the gap is positive where the first is better."""
    sign = -1 if score in LOWER_IS_BETTER else 1
    teachers = []
    for number in found.order:
        low, high = sorted((sign * found.low[number], sign * found.high[number]))
        numbers = {"mean": sign * found.mean[number], "low": low, "high": high}
        numbers["best"] = found.best[number]
        rounded = {name: round(float(value), DIGITS) for name, value in numbers.items()}
        teachers.append({"teacher": names[number], **rounded})
    gap = found.gap and {name: round(value, DIGITS) for name, value in found.gap._asdict().items()}
    return {
        "score": score,
        "lower_is_better": sign < 0,
        "common_prompts": found.num_prompts,
        "teachers": teachers,
        "gap": gap,
    }


def matrix_of(values: Mapping[str, Floats], correlation: Correlation) -> list[list[float | None]]:
    """Correlation of each two, symmetric."""
    lines: list[list[float | None]] = [[None] * len(values) for _ in values]
    parts = list(values.values())
    for line, one in enumerate(parts):
        for column, two in enumerate(parts[: line + 1]):
            lines[line][column] = lines[column][line] = _rounded(correlation(one, two))
    return lines


def _step_length(score: str, found: StepLength) -> dict[str, Any]:
    return {"score": score, **{name: _rounded(one) for name, one in found._asdict().items()}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
