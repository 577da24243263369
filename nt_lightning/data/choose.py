"""From a pool to the rows of a run: one trace per question, a validation split, the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import QUESTION_KEY

Select = Callable[[pa.Table, int, int], Ints]


class Chosen(NamedTuple):
    """Pool rows of a run: what is trained on and what measures the validation loss."""

    train: Ints
    val: Ints


def choose(
    table: pa.Table,
    select: Select,
    *,
    num_traces: int | None,
    num_val: int,
    seed: int,
) -> Chosen:
    """Split questions off for validation, then select from the rest.

    The validation rows depend on (seed, question) alone, so that all selections and teachers of
    a pool are validated on the same questions (our choice).

    Args:
        table: ``question_key`` and what ``select`` reads of the candidates, one trace per
            question, [N].
        select: Takes candidates, a size and a seed to row numbers.
        num_traces: Traces to train on; ``None`` takes what validation leaves.
        num_val: Traces for the validation loss.
        seed: The run's seed.

    Raises:
        UserError: The pool is too small, or ``select`` gives other rows than it promises.
    """
    total = table.num_rows
    wanted = total - num_val if num_traces is None else num_traces
    if wanted < 1 or wanted + num_val > total:
        raise UserError(
            f"num_traces is {num_traces} and num_val {num_val}, but the pool has {total} "
            "questions to choose from"
        )
    by_chance = np.argsort(uniform_from_ids(table[QUESTION_KEY], seed, "validation"), kind="stable")
    val = np.sort(by_chance[:num_val])
    rest = np.sort(by_chance[num_val:])
    selected = select(table.take(pa.array(rest)), wanted, seed)
    return Chosen(rest[_check_selected(selected, select, wanted, len(rest))], val)


def _check_selected(selected: npt.ArrayLike, select: Select, size: int, total: int) -> Ints:
    """Rows of a selection, ascending; a selection is the user's code, so nothing is believed."""
    rows = np.asarray(selected)
    if rows.ndim != 1 or len(rows) != size:
        wrong = f"rows of shape {rows.shape}, not ({size},)"
    elif not np.issubdtype(rows.dtype, np.integer):
        wrong = f"rows of type {rows.dtype}, not integers"
    elif rows.min() < 0 or rows.max() >= total:
        wrong = f"rows {rows.min()} to {rows.max()}; allowed: 0 to {total - 1}"
    elif len(np.unique(rows)) < size:
        values, counts = np.unique(rows, return_counts=True)
        wrong = f"row {values[counts.argmax()]} {counts.max()} times; allowed: once"
    else:
        return np.sort(rows).astype(np.int64)
    raise UserError(f"{select.__qualname__} gave {wrong}")


def one_per_question(table: pa.Table, teachers: Sequence[str] | None) -> Ints:
    """Rows that keep one trace per question: that of the first teacher in order.

    Args:
        table: ``question_key`` and ``teacher`` of every row.
        teachers: Teachers to take, in order of preference; ``None``: all, in order of appearance.

    Returns:
        Row numbers, ascending.

    Raises:
        UserError: A named teacher is not in the pool.
    """
    import pandas as pd

    codes, names = pd.factorize(np.asarray(table["teacher"].to_pylist(), dtype=object))
    rank = np.arange(len(names))
    if teachers is not None:
        for name in teachers:
            if name not in names:
                raise UserError(f"teacher {name!r} is not in the pool; it has: {', '.join(names)}")
        rank = np.array([teachers.index(n) if n in teachers else len(teachers) for n in names])
    preference = rank[codes]
    rows = np.arange(table.num_rows)
    if teachers is not None:
        rows = rows[preference < len(teachers)]
    questions = pd.factorize(np.asarray(table[QUESTION_KEY].to_pylist(), dtype=object))[0]
    ordered = rows[np.argsort(preference[rows], kind="stable")]
    _, first = np.unique(questions[ordered], return_index=True)
    return np.sort(ordered[first])


def random_rows(ids: pa.ChunkedArray, size: int, seed: int) -> npt.NDArray[np.int64]:
    """``size`` rows uniformly at random, nested: a larger size holds every smaller one's rows."""
    keys = uniform_from_ids(ids, seed, "selection")
    return np.sort(np.argsort(keys, kind="stable")[:size])
