"""The second teacher's answers, with which a pool's own are compared."""

from __future__ import annotations

from typing import NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.traces.pool import QUESTION_KEY, Pool


class Second(NamedTuple):
    """The other side: who it is, and its answer to a question."""

    teacher: str
    answer: str


def seconds_of(
    pool: Pool, second: str | None, second_pool: Pool | None
) -> dict[str, Second] | None:
    """Second answers by question key, in memory; ``None``: they are columns of the pool.

    Of several answers to a question the first counts (our choice).

    Args:
        pool: Traces.
        second: The second teacher, if its answers are traces.
        second_pool: Where those are; the pool itself by default.

    Raises:
        UserError: There is no answer of that teacher, or it is not said who is the second.
    """
    if second is None:
        if second_pool is not None:
            raise UserError("second_pool is given without second; name the second teacher")
        missing = {"second_teacher", "second_answer"} - set(pool.column_names)
        if missing:
            there = ", ".join(sorted(pool.read(["teacher"])["teacher"].unique().to_pylist()))
            raise UserError(
                f"second is not given, and {pool.folder} has no column {min(missing)!r}; name the "
                f"second teacher: --second TEACHER; the pool's teachers: {there}"
            )
        return None
    where = second_pool or pool
    found: dict[str, Second] = {}
    teachers: set[str] = set()
    for _, shard in where.shards([QUESTION_KEY, "teacher", "answer"]):
        for row in shard.to_pylist():
            teachers.add(row["teacher"])
            if row["teacher"] == second:
                found.setdefault(row[QUESTION_KEY], Second(second, row["answer"]))
    if not found:
        listed = ", ".join(sorted(teachers))
        raise UserError(f"second: {where.folder} has no trace of {second!r}; it has: {listed}")
    return found
