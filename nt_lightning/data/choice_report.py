"""What there is to say of a choice of responses by their scores, as plain JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from nt_lightning.data.plan import Ints
from nt_lightning.data.response_controls import Candidates, response_controls
from nt_lightning.data.score_warnings import (
    Warned,
    confounded,
    same_family,
    step_length_correlation,
)
from nt_lightning.data.scored import Competing
from nt_lightning.traces.pool import take_rows
from nt_lightning.traces.scores import LOWER_IS_BETTER


def choice_report(
    found: Competing, scored: Competing, score: str, rows: Ints, *, seed: int
) -> dict[str, Any]:
    """A choice for some questions beside its controls, and what to be warned of.

    Args:
        found: All responses that may compete.
        scored: Those of them that have the score.
        score: Its name.
        rows: Pool rows of the choice, of ``scored``, one a question.
        seed: Seed of the random choice.

    Returns:
        ``score``, ``student``, ``competing`` (responses to these questions), ``without_score`` (of
        all questions, by reason), ``controls`` and ``gain`` of ``response_controls``, ``warnings``.
    """
    own = np.unique(scored.prompts[np.isin(scored.rows, rows)])
    asked = scored.only(np.flatnonzero(np.isin(scored.prompts, own)))
    candidates = Candidates(
        prompts=asked.prompts,
        teachers=asked.teachers,
        names=asked.names,
        ratio=asked.ratio(score),
        tokens=asked.tokens,
        step_tokens=asked.step_tokens,
        luck=asked.luck(seed, "random response"),
    )
    sign = -1 if score in LOWER_IS_BETTER else 1
    return {
        "score": score,
        "student": str(found.scores.info["model_name"]),
        "lower_is_better": sign < 0,
        "competing": len(asked.rows),
        "without_score": _without(found, scored),
        **response_controls(candidates, np.flatnonzero(np.isin(asked.rows, rows)), sign),
        "warnings": [warning._asdict() for warning in _warnings(scored, asked, score)],
    }


def _warnings(scored: Competing, asked: Competing, score: str) -> Iterator[Warned]:
    there = [asked.names[number] for number in np.unique(asked.teachers)]
    info = scored.scores.info
    yield from same_family(str(info["model_name"]), there, info.get("model_type", ""))
    better = scored.better(score)
    yield from confounded(
        score, step_length_correlation(better, scored.step_tokens, scored.teachers)
    )
    if len(there) == 1:
        text = f"{there[0]!r} is the only teacher whose responses compete: no teacher was chosen"
        yield Warned("one_teacher", text)
    if len(np.unique(asked.prompts)) == len(asked.prompts):
        text = "each question has one response that competes: no response was chosen"
        yield Warned("one_response", text)


def _without(found: Competing, scored: Competing) -> dict[str, int]:
    """Responses that may compete and have no score, by reason."""
    rows = np.setdiff1d(found.rows, scored.rows)
    if "unscored_reason" not in found.scores.table.column_names:
        return {"no score": len(rows)} if len(rows) else {}
    reasons = take_rows(found.scores.table.select(["unscored_reason"]), rows)["unscored_reason"]
    counts = Counter(reason or "no value of this score" for reason in reasons.to_pylist())
    return dict(counts.most_common())
