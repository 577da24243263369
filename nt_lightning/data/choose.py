"""From a pool to the rows of a run: one trace per question, a validation split, the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.budget import Budget
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.selected import Reasons, Selected, one_reason
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import QUESTION_KEY, take_rows

Select = Callable[[pa.Table, int | None, int], Selected]


class Responses(NamedTuple):
    """The candidates of a run: one response for each question.

    Args:
        rows: Their pool rows, ascending, [Q].
        columns: What ``select`` gets to know of them besides its columns, [Q]; ``None``: nothing.
        details: What the audit tells of the training traces, given their pool rows, as plain JSON.
    """

    rows: Ints
    columns: pa.Table | None = None
    details: Callable[[Ints], dict[str, Any]] | None = None


class Chosen(NamedTuple):
    """Candidates of a run: what is trained on and what measures the validation loss.

    Args:
        train: Rows of the training traces, ascending.
        val: Rows of the validation traces, ascending.
        reasons: Reason of every candidate.
        details: What else the selection tells its audit.
    """

    train: Ints
    val: Ints
    reasons: Reasons
    details: dict[str, Any]


def choose(table: pa.Table, select: Select, budget: Budget, *, num_val: int, seed: int) -> Chosen:
    """Split questions off for validation, then select from the rest.

    The validation rows depend on (seed, question) alone, so that all selections and teachers of
    a pool are validated on the same questions (our choice).

    Args:
        table: ``question_key`` and what ``select`` and ``budget`` read of the candidates, one
            trace per question, [N].
        select: Takes candidates, a size and a seed to ``Selected``.
        budget: How much to take.
        num_val: Traces for the validation loss.
        seed: The run's seed.

    Raises:
        UserError: The pool is too small, the selection leaves less than the budget, or ``select``
            gives other rows than it promises.
    """
    total = table.num_rows
    _refuse_more_than_there_is(budget.num_traces, num_val, total)
    val, rest = np.zeros(0, dtype=np.int64), np.arange(total)
    if num_val:
        val = validation_rows(table[QUESTION_KEY], num_val, seed)
        rest = np.setdiff1d(rest, val)
        table = take_rows(table, rest)
    selected = budget.ask(
        lambda size: _checked(select(table, size, seed), select, len(rest)), table
    )
    assert selected.reasons is not None
    rows = budget.fill(selected, table)
    codes = np.full(total, len(selected.reasons.names))
    codes[rest] = selected.reasons.codes
    reasons = Reasons(codes, [*selected.reasons.names, "kept for validation"])
    return Chosen(np.sort(rest[rows]), val, reasons, selected.details)


def validation_rows(questions: pa.ChunkedArray, num_val: int, seed: int) -> Ints:
    """Rows of the questions that are kept for validation, ascending.

    Args:
        questions: ``question_key`` of each candidate, [N].
        num_val: How many.
        seed: The seed that ``choose`` gets.
    """
    luck = uniform_from_ids(questions, seed, "validation")
    return np.sort(np.argsort(luck, kind="stable")[:num_val])


def _refuse_more_than_there_is(num_traces: int | None, num_val: int, total: int) -> None:
    """Raise UserError where validation and training want more candidates than there are."""
    if num_val >= total:
        raise UserError(
            f"data.num_val is {num_val}; allowed: at most {total - 1}, all but one of the "
            f"{total} questions to choose from"
        )
    most = total - num_val
    if num_traces is not None and num_traces > most:
        why = f"{num_val} of {total} questions are kept for validation"
        why = why if num_val else "as many questions are there to choose from"
        raise UserError(f"data.num_traces is {num_traces}; allowed: at most {most} ({why})")


def _checked(selected: Selected, select: Select, total: int) -> Selected:
    """What a selection gave, with reasons; it is the user's code, so nothing is believed."""
    if not isinstance(selected, Selected):
        raise UserError(f"{select.__qualname__} gave {type(selected).__name__}, not Selected")
    rows = np.asarray(selected.rows)
    reasons = selected.reasons or one_reason(total, select.__qualname__)
    if rows.ndim != 1:
        wrong = f"rows of shape {rows.shape}; allowed: one dimension"
    elif not np.issubdtype(rows.dtype, np.integer):
        wrong = f"rows of type {rows.dtype}; allowed: integers"
    elif len(rows) and (rows.min() < 0 or rows.max() >= total):
        wrong = f"rows {rows.min()} to {rows.max()}; allowed: 0 to {total - 1}"
    elif len(np.unique(rows)) < len(rows):
        values, counts = np.unique(rows, return_counts=True)
        wrong = f"row {values[counts.argmax()]} {counts.max()} times; allowed: once"
    elif len(reasons.codes) != total:
        wrong = f"reasons for {len(reasons.codes)} candidates; allowed: {total}"
    else:
        return Selected(rows.astype(np.int64), reasons, selected.details)
    raise UserError(f"{select.__qualname__} gave {wrong}")


def one_per_question(
    table: pa.Table, teachers: Sequence[str] | None, left: Ints | None = None
) -> Ints:
    """Rows that keep one trace per question: that of the first teacher in order.

    Args:
        table: ``question_key`` and ``teacher`` of every row.
        teachers: Teachers to take, in order of preference; ``None``: all, in order of appearance.
        left: Rows that filters have left; ``None``: all. They change neither the order of the
            teachers nor who is known.

    Returns:
        Row numbers, ascending.

    Raises:
        UserError: A named teacher is not in the pool.
    """
    import pandas as pd

    codes, names = pd.factorize(table["teacher"].to_pandas())
    rank = np.arange(len(names))
    if teachers is not None:
        for name in teachers:
            if name not in names:
                raise UserError(f"teacher {name!r} is not in the pool; it has: {', '.join(names)}")
        rank = np.array([teachers.index(n) if n in teachers else len(teachers) for n in names])
    preference = rank[codes]
    rows = np.arange(table.num_rows) if left is None else left
    if teachers is not None:
        rows = rows[preference[rows] < len(teachers)]
    questions = pc.dictionary_encode(table[QUESTION_KEY].combine_chunks()).indices.to_numpy()
    best_last = rows[np.argsort(preference[rows], kind="stable")][::-1]
    kept = np.full(questions.max() + 1, -1)
    kept[questions[best_last]] = best_last  # the best one writes last
    return np.sort(kept[kept >= 0])
