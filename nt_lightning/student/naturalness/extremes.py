"""The most and the least natural steps of a pool, in their context."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.student.naturalness.encode import ResponseEncoder
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.scores import Scores, read_steps

SHOWN = 10
MIN_TOKENS = 4  # shorter steps are mostly one odd or one certain token (our choice)
CONTEXT = 2  # steps shown before and behind
MAX_CHARS = 400  # of a step


class _Step(NamedTuple):
    row: int
    step: int
    score: float


def extreme_steps(
    pool: Pool, scores: Scores, encoder: ResponseEncoder, score: str
) -> dict[str, list[dict[str, Any]]]:
    """Steps with the highest and the lowest score, at most one of a response.

    Args:
        pool: The pool.
        scores: Its scores.
        encoder: What the scores were made with.
        score: ``galp`` or a ``lalp_*``.

    Returns:
        ``most`` and ``least`` natural: id, teacher, number of the step, tokens, score, its text and
        the texts before and behind it.
    """
    steps = read_steps(scores.folder, ["step_starts", "step_tokens", score])
    found = {name: _best_of_each(steps, score, sign) for name, sign in (("most", 1), ("least", -1))}
    rows = sorted({one.row for ones in found.values() for one in ones})
    names = ["id", "teacher", "question", "reasoning", "answer"]
    traces = dict(zip(rows, pool.read(names).take(pa.array(rows)).to_pylist(), strict=True))
    return {
        name: [_shown(one, traces[one.row], steps, encoder) for one in ones]
        for name, ones in found.items()
    }


def _best_of_each(steps: pa.Table, score: str, sign: int) -> list[_Step]:
    """The best step of each response, and of these the best."""
    scored = steps.filter(steps[score].is_valid())
    rows = np.flatnonzero(steps[score].is_valid().to_numpy())
    column = scored[score].combine_chunks()
    values = sign * _flat(column).astype(np.float64)
    values[_flat(scored["step_tokens"].combine_chunks()) < MIN_TOKENS] = -np.inf
    values[~np.isfinite(values)] = -np.inf
    owners = pc.list_parent_indices(column).to_numpy()
    order = np.argsort(-values, kind="stable")
    found: list[_Step] = []
    firsts = np.searchsorted(owners, np.arange(len(column)))
    seen: set[int] = set()
    for place in order.tolist():
        owner = int(owners[place])
        if len(found) == SHOWN or values[place] == -np.inf:
            break
        if owner not in seen:
            seen.add(owner)
            step = place - int(firsts[owner])
            found.append(_Step(int(rows[owner]), step, sign * float(values[place])))
    return found


def _shown(
    found: _Step, trace: dict[str, Any], steps: pa.Table, encoder: ResponseEncoder
) -> dict[str, Any]:
    text, _ = encoder.text(trace["reasoning"], trace["answer"])
    starts = [*steps["step_starts"][found.row].as_py(), len(text)]
    first, last = max(0, found.step - CONTEXT), min(len(starts) - 1, found.step + 1 + CONTEXT)
    return {
        "id": trace["id"],
        "teacher": trace["teacher"],
        "question": _cut(trace["question"]),
        "step": found.step + 1,
        "steps": len(starts) - 1,
        "tokens": steps["step_tokens"][found.row].as_py()[found.step],
        "score": round(found.score, 6),
        "before": _cut(text[starts[first] : starts[found.step]][::-1])[::-1],
        "text": _cut(text[starts[found.step] : starts[found.step + 1]]),
        "behind": _cut(text[starts[found.step + 1] : starts[last]]),
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def _flat(column: pa.ListArray) -> npt.NDArray[Any]:
    return column.flatten().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
