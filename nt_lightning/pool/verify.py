"""``pool verify``: the columns ``correct`` and ``verified_by`` of a pool's traces."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.evaluation.equality.verdict import Verdict
from nt_lightning.pool.derived import refuse_output, write_derived
from nt_lightning.pool.verification.crew import Crew
from nt_lightning.pool.verification.gym import COLUMN, SOURCE
from nt_lightning.pool.verification.worker import WITH_GYM
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.record import COLUMNS

NEEDED = ("id", "question", "answer")
REFERENCE = "reference_answer"
ROWS_AT_A_TIME = 256  # as Python objects
PACKAGES = ("nt_lightning", "math-verify", "sympy", "reasoning-gym")

Counts = Counter[Verdict]


def verify_traces(
    pool: Pool, output: str | Path, *, workers: int | None, limit_s: float, overwrite: bool = False
) -> str:
    """Verify a pool's traces and write them, in their order, as a new pool.

    Args:
        pool: The pool; verdicts that it has are replaced.
        output: Folder of the new pool.
        workers: Processes; ``None``: one for each core.
        limit_s: Seconds for one trace.
        overwrite: Replace a pool that is already there.

    Returns:
        What was found, in a line.

    Raises:
        UserError: An argument is wrong, or reference answers are missing outside reasoning-gym.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; allowed: 1 and more")
    if not limit_s > 0:
        raise UserError(f"limit_s is {limit_s}; allowed: more than 0")
    folder = refuse_output(output, overwrite, pool)
    has_gym = _has_gym(pool)
    pool.require(NEEDED if has_gym else (*NEEDED, REFERENCE))  # scorers need no reference
    num_workers = workers or len(os.sched_getaffinity(0))
    counts: Counts = Counter()
    settings = {"command": "pool verify", "limit_s": limit_s}
    versions = {name: version(name) for name in PACKAGES}
    with (
        Crew(num_workers, limit_s, [WITH_GYM] if has_gym else []) as crew,
        tqdm(total=len(pool), desc="verifying", unit=" traces", delay=1, disable=None) as bar,
    ):
        write_derived(
            pool,
            _verified(pool, crew, counts, bar),
            folder,
            {**settings, "versions": versions},
            lambda: _summary(counts),
        )
    return f"{output}: {_line(counts)}"


def _verified(pool: Pool, crew: Crew, counts: Counts, bar: tqdm[Any]) -> Iterator[pa.Table]:
    """The pool with its verdicts, shard by shard."""
    wanted = [name for name in (*NEEDED, REFERENCE, "source", COLUMN) if name in pool.column_names]
    for _, table in pool.shards():
        batches = table.select(wanted).to_batches(max_chunksize=ROWS_AT_A_TIME)
        verdicts: list[Verdict | None] = [None] * len(table)
        for place, verdict in crew.judge(row for batch in batches for row in batch.to_pylist()):
            verdicts[place] = verdict
            counts[verdict] += 1
            bar.update()
        for name, field in (("correct", "correct"), ("verified_by", "by")):
            values = pa.array([getattr(one, field) for one in verdicts], COLUMNS[name].type)
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, values)
        yield table


def _has_gym(pool: Pool) -> bool:
    """Whether any question comes from reasoning-gym, which is slow to import."""
    if COLUMN in pool.column_names:
        return True
    if "source" not in pool.column_names:
        return False
    sources = pool.read(["source"])["source"].unique().to_pylist()
    return any((source or "").startswith(SOURCE) for source in sources)


def _summary(counts: Counts) -> dict[str, Any]:
    """How many traces are right, wrong and undecided, by what decided or why not."""
    sides: dict[str, bool | None] = {"right": True, "wrong": False, "undecided": None}
    return {
        name: {one.by: count for one, count in counts.most_common() if one.correct is side}
        for name, side in sides.items()
    }


def _line(counts: Counts) -> str:
    found = _summary(counts)
    line = ", ".join(f"{sum(by.values())} {name}" for name, by in found.items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in found["undecided"].items())
    return f"{counts.total()} traces, {line}" + (f" ({reasons})" if reasons else "")
