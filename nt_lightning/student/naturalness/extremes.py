"""The most and the least natural steps of a pool, in their context."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.student.naturalness.encode import ResponseEncoder
from nt_lightning.traces.pool import Pool, take_rows
from nt_lightning.traces.scores import Scores, step_parts

SHOWN = 10
MIN_TOKENS = 4  # shorter steps are mostly one odd or one certain token (our choice)
CONTEXT = 2  # steps shown before and behind
MAX_CHARS = 400  # of a step
SIGNS = {"most": 1, "least": -1}


class _Step(NamedTuple):
    row: int
    step: int
    score: float
    starts: list[int]  # of all steps of the response
    tokens: int


def extreme_steps(
    pool: Pool, scores: Scores, encoder: ResponseEncoder, score: str
) -> dict[str, list[dict[str, Any]]]:
    """Steps with the highest and the lowest score, at most one of a response.

    One part of the steps and one shard of the pool is in memory at a time.

    Args:
        pool: The pool.
        scores: Its scores.
        encoder: What the scores were made with.
        score: ``galp`` or a ``lalp_*``.

    Returns:
        ``most`` and ``least`` natural: id, teacher, number of the step, tokens, score, its text and
        the texts before and behind it; empty where no step has a score.
    """
    found = _extremes(scores.folder, score)
    traces = _traces(pool, {one.row for ones in found.values() for one in ones})
    return {
        name: [_shown(one, traces[one.row], encoder) for one in ones]
        for name, ones in found.items()
    }


def _extremes(folder: Path, score: str) -> dict[str, list[_Step]]:
    """The best steps for each sign, best first, earlier ones first where they are equal."""
    found: dict[str, list[_Step]] = {name: [] for name in SIGNS}
    for first, part in step_parts(folder, ["step_starts", "step_tokens", score]):
        for name, sign in SIGNS.items():
            best = [*found[name], *_best_of_each(part, first, score, sign)]
            found[name] = heapq.nlargest(SHOWN, best, key=lambda one: sign * one.score)
    return found


def _best_of_each(steps: pa.Table, first: int, score: str, sign: int) -> list[_Step]:
    """The best step of each response, and of these the best; ``first`` is the first one's row."""
    scored = steps.filter(steps[score].is_valid()).combine_chunks()
    rows = np.flatnonzero(steps[score].is_valid().to_numpy())
    column = _list_of(scored, score)
    tokens = _flat(_list_of(scored, "step_tokens"))
    values = sign * _flat(column).astype(np.float64)
    values[(tokens < MIN_TOKENS) | ~np.isfinite(values)] = -np.inf
    owners = pc.list_parent_indices(column).to_numpy()
    firsts = np.searchsorted(owners, np.arange(len(column)))
    found: dict[int, _Step] = {}
    for place in np.argsort(-values, kind="stable").tolist():
        owner = int(owners[place])
        if len(found) == SHOWN or values[place] == -np.inf:
            break
        if owner not in found:
            starts = scored["step_starts"][owner].as_py()
            step, value = place - int(firsts[owner]), sign * float(values[place])
            found[owner] = _Step(first + int(rows[owner]), step, value, starts, int(tokens[place]))
    return list(found.values())


def _traces(pool: Pool, rows: set[int]) -> dict[int, dict[str, Any]]:
    """Some traces by their rows."""
    found: dict[int, dict[str, Any]] = {}
    wanted = np.array(sorted(rows), dtype=np.int64)
    names = ["id", "teacher", "question", "reasoning", "answer"]
    for first, table in pool.shards(names) if rows else ():
        own = wanted[(first <= wanted) & (wanted < first + len(table))]
        found |= zip(own.tolist(), take_rows(table, own - first).to_pylist(), strict=True)
    return found


def _shown(found: _Step, trace: dict[str, Any], encoder: ResponseEncoder) -> dict[str, Any]:
    text, _ = encoder.text(trace["reasoning"], trace["answer"])
    starts = [*found.starts, len(text)]
    first, last = max(0, found.step - CONTEXT), min(len(starts) - 1, found.step + 1 + CONTEXT)
    return {
        "id": trace["id"],
        "teacher": trace["teacher"],
        "question": _cut(trace["question"]),
        "step": found.step + 1,
        "steps": len(starts) - 1,
        "tokens": found.tokens,
        "score": round(found.score, 6),
        "before": _cut(text[starts[first] : starts[found.step]][::-1])[::-1],
        "text": _cut(text[starts[found.step] : starts[found.step + 1]]),
        "behind": _cut(text[starts[found.step + 1] : starts[last]]),
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def _list_of(table: pa.Table, name: str) -> pa.ListArray:
    """A column of a table without rows is a chunked array without chunks."""
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _flat(column: pa.ListArray) -> npt.NDArray[Any]:
    return column.flatten().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
