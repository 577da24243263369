"""The responses of a pool that compete for being chosen, with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.traces.pool import QUESTION_KEY, Pool, take_rows
from nt_lightning.traces.scores import Ratio, Scores

Among = Literal["correct", "all"]


class Competing(NamedTuple):
    """Responses that compete, by question and id, whatever the order of the pool's rows.

    Args:
        rows: Their pool rows, [N].
        ids: Their ids, [N].
        prompts: Number of each one's question, ascending, [N].
        teachers: Index of each one's teacher in ``names``, [N].
        names: Teachers that are left, alphabetical, also those whose responses do not compete.
        scores: Scores of the whole pool.
    """

    rows: Ints
    ids: pa.ChunkedArray
    prompts: Ints
    teachers: Ints
    names: list[str]
    scores: Scores

    def only(self, places: Ints) -> Competing:
        """Some of them, ascending; questions keep their numbers."""
        ids = self.ids.take(pa.array(places))
        parts = (part[places] for part in (self.rows, self.prompts, self.teachers))
        rows, prompts, teachers = parts
        return Competing(rows, ids, prompts, teachers, self.names, self.scores)

    def ratio(self, name: str) -> Ratio:
        """A score of each, [N]; higher is better, NaN where there is none."""
        return Ratio(*(part[self.rows] for part in self.scores.ratio(name)))

    def better(self, name: str) -> Floats:
        """A score of each, [N]; higher is better, NaN where there is none."""
        return self.scores.better(name)[self.rows]

    @property
    def tokens(self) -> Floats:
        """Tokens that were scored, [N]."""
        return self.scores.column("length")[self.rows]

    @property
    def step_tokens(self) -> Floats:
        """Mean tokens per step of each, [N]; NaN where there is no step."""
        steps = self.scores.column("scored_steps")[self.rows]
        return self.tokens / np.where(steps > 0, steps, np.nan)

    def luck(self, seed: int, purpose: str) -> Floats:
        """A uniform number of each, from (seed, id), [N]."""
        return uniform_from_ids(self.ids, seed, purpose)


def competing(
    pool: Pool, scores: Scores, left: Ints, teachers: Sequence[str] | None, among: Among
) -> Competing:
    """The responses that compete.

    Args:
        pool: The pool.
        scores: Its scores.
        left: Rows that the filters have left, ascending.
        teachers: Whose responses compete; ``None``: all.
        among: ``correct``: those whose answer was verified; ``all``.
    """
    columns = ["id", QUESTION_KEY, "teacher", *(["correct"] if among == "correct" else [])]
    table = take_rows(pool.read(columns), left).append_column("row", pa.array(left))
    if teachers is not None:
        table = table.filter(pc.is_in(table["teacher"], pa.array(teachers, pa.string())))
    names = sorted(table["teacher"].unique().to_pylist())
    if among == "correct":
        table = table.filter(pc.fill_null(table["correct"], False))
    order = pc.sort_indices(table, [(QUESTION_KEY, "ascending"), ("id", "ascending")])
    table = table.take(order)
    keys = pc.run_end_encode(table[QUESTION_KEY].combine_chunks())
    ends = keys.run_ends.to_numpy()
    return Competing(
        table["row"].to_numpy(),
        table["id"],
        np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)),
        pc.index_in(table["teacher"], pa.array(names, pa.string())).to_numpy().astype(np.int64),
        names,
        scores,
    )


def best_of(prompts: Ints, keys: Floats, luck: Floats) -> Ints:
    """Place of the largest key of each question, ties by luck, ascending by question.

    Args:
        prompts: Number of each response's question, [N].
        keys: What decides, [N].
        luck: Uniform numbers, [N].
    """
    order = np.lexsort((luck, -keys, prompts))
    return order[np.flatnonzero(np.diff(prompts[order], prepend=-1))]
