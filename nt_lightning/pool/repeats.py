"""Rows of a pool of questions that ask what an earlier row has asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.pool.questions import Rows
from nt_lightning.traces.pool import QUESTION_KEY, Pool


class Repeats:
    """Further rows of one question; in a pool of traces there are none, as each row is another.

    Args:
        pool: The pool.
        firsts: First row of each of its questions.
    """

    def __init__(self, pool: Pool, firsts: Rows) -> None:
        self._is_first = np.ones(len(pool), dtype=bool)
        self._ids: dict[str, str] = {}  # of first rows that have further ones, by question
        self._keys = pa.array([], pa.string())
        if pool.kind == "questions" and len(firsts) < len(pool):
            self._is_first[:] = False
            self._is_first[firsts] = True
            keys = pool.read([QUESTION_KEY])[QUESTION_KEY]
            self._keys = keys.filter(pa.array(~self._is_first)).unique()

    def is_first(self, start: int, table: pa.Table) -> pa.Array:
        """Which rows are no further ones.

        Args:
            start: Number of the first row in the pool.
            table: Rows of the pool.
        """
        return pa.array(self._is_first[start : start + table.num_rows])

    def listed(
        self, start: int, table: pa.Table, stays: pa.ChunkedArray
    ) -> Iterator[dict[str, Any]]:
        """Entries of the list of what goes, for further rows of questions that stay.

        Args:
            start: Number of the first row in the pool.
            table: Its ids, questions and their keys; shards come in their order.
            stays: Which rows no other rule leaves out.
        """
        is_first = self.is_first(start, table)
        wanted = pc.and_(stays, pc.is_in(table[QUESTION_KEY], value_set=self._keys))
        for row in table.filter(pc.and_(wanted, is_first)).to_pylist():
            self._ids[row[QUESTION_KEY]] = row["id"]
        for row in table.filter(pc.and_not(wanted, is_first)).to_pylist():
            kept_id, text = self._ids[row[QUESTION_KEY]], row["question"]
            yield {
                "id": row["id"],
                "question": text,
                "kept_id": kept_id,
                "kept_question": text,
                "similarity": 1.0,
                "linked_id": kept_id,
                "linked_similarity": 1.0,
            }
