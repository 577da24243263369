"""Pools with scores written by hand: what selections by naturalness read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.traces.pool import Pool, write_pool
from nt_lightning.traces.scores import scores_folder, write_scores

Response = tuple[str, str, Mapping[str, Any]]  # question, teacher, its columns and scores
POOL_COLUMNS = {"id", "correct"}


def scored_pool(
    folder: Path,
    responses: Sequence[Response],
    *,
    rows_per_shard: int = 50_000,
    key: str = "0",
    student: str = "student",
) -> Pool:
    """A pool of responses ``(question, teacher, {"correct": .., "galp": .., ..})`` with scores."""
    rows = [
        {
            "id": own.get("id", f"{question}/{teacher}"),
            "question": question,
            "teacher": teacher,
            "reasoning": f"I think of {question}.",
            "answer": "42",
            "correct": own.get("correct", True),
        }
        for question, teacher, own in responses
    ]
    pool = write_pool(pa.Table.from_pylist(rows), folder, {}, rows_per_shard)
    names = dict.fromkeys(name for _, _, own in responses for name in own)
    scores = {
        name: [own.get(name) for _, _, own in responses]
        for name in names
        if name not in POOL_COLUMNS
    }
    add_scores(pool, scores, key=key, student=student)
    return pool


def add_scores(
    pool: Pool, scores: Mapping[str, Any], *, key: str = "0", student: str = "student", **info: Any
) -> Path:
    """Write scores, one list per name in the order of the pool's rows, into a pool's folder."""
    length = {"length": [20] * len(pool), "scored_steps": [4] * len(pool)}
    columns = {name: pa.array(list(values)) for name, values in {**length, **scores}.items()}
    traces = pool.read(["id", "teacher"])
    table = pa.table({"id": traces["id"], "teacher": traces["teacher"], **columns})
    steps = pa.table({"id": traces["id"], "galp": [[-1.0]] * len(pool)})
    folder = scores_folder(pool.folder, key)
    info = {"model_name": student, "pool_digest": pool.digest, **info}
    write_scores(folder, table, [steps.slice(0, 2), steps.slice(2)], info)
    return folder
