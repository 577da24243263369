"""The record: the columns of a trace, and the check that every pool passes before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.errors import UserError
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

SCHEMA_VERSION = 2
FROM_ROWS = "`python -m nt_lightning pool import` takes it from the rows of a file"
FROM_ANNOTATE = "`python -m nt_lightning pool annotate` writes it"
FROM_JUDGE = "`python -m nt_lightning pool judge` writes it"
FROM_VERIFY = "`python -m nt_lightning pool verify` writes it"
FROM_GENERATE = "`python -m nt_lightning pool generate` writes it"
FROM_TOKENIZER = "`python -m nt_lightning pool import --tokenizer MODEL` writes it"


@dataclass(frozen=True)
class Column:
    """One column of the record.

    Args:
        type: Its Arrow type.
        about: What it holds.
        required: Every row has a value that is not null.
        allow_empty: A text may be empty.
        written_by: Which command writes it, for the message where it is missing.
    """

    type: pa.DataType
    about: str
    required: bool = False
    allow_empty: bool = True
    written_by: str = FROM_ROWS


COLUMNS: dict[str, Column] = {
    "id": Column(pa.string(), "unique name of the trace", required=True, allow_empty=False),
    "question": Column(pa.string(), "raw question", required=True, allow_empty=False),
    "teacher": Column(pa.string(), "who wrote the trace", required=True, allow_empty=False),
    "reasoning": Column(
        pa.string(), "text inside the think block, without tags; empty: none", required=True
    ),
    "answer": Column(pa.string(), "text after the think block", required=True, allow_empty=False),
    "reference_answer": Column(pa.string(), "gold answer"),
    "source": Column(pa.string(), "where the question comes from"),
    "finish_reason": Column(pa.string(), "stop, length or another reason"),
    "response_tokens": Column(
        pa.int64(), "tokens of the teacher's response", written_by=FROM_TOKENIZER
    ),
    "domain": Column(pa.string(), "discipline of the question", written_by=FROM_ANNOTATE),
    "topic": Column(pa.string(), "topic within the domain", written_by=FROM_ANNOTATE),
    "reasoning_strategies": Column(
        pa.list_(pa.string()), "names of strategies in the reasoning", written_by=FROM_ANNOTATE
    ),
    "num_steps": Column(pa.int64(), "reasoning steps", written_by=FROM_ANNOTATE),
    "step_starts": Column(
        pa.list_(pa.int64()),
        "where each step begins, in characters of the reasoning",
        written_by=FROM_ANNOTATE,
    ),
    "verbosity": Column(pa.int64(), "0 efficient .. 10 rambling", written_by=FROM_ANNOTATE),
    "annotated_by": Column(
        pa.string(), "annotator and digest of its prompts", written_by=FROM_ANNOTATE
    ),
    "models_agree": Column(
        pa.bool_(), "teacher and second teacher give the same answer", written_by=FROM_JUDGE
    ),
    "agreed_by": Column(pa.string(), "what decided models_agree", written_by=FROM_JUDGE),
    "correct": Column(
        pa.bool_(), "the answer is verified; null: unverifiable", written_by=FROM_VERIFY
    ),
    "verified_by": Column(pa.string(), "what decided correct, or why null", written_by=FROM_VERIFY),
    "second_teacher": Column(pa.string(), "the other side of models_agree", written_by=FROM_JUDGE),
    "second_answer": Column(pa.string(), "the second teacher's answer", written_by=FROM_JUDGE),
    "sample": Column(
        pa.int64(), "which of a teacher's responses, from 0", written_by=FROM_GENERATE
    ),
    "request_key": Column(
        pa.string(), "the request in the request store", written_by=FROM_GENERATE
    ),
}
REQUIRED = tuple(name for name, column in COLUMNS.items() if column.required)
REQUIRED_OF = {"traces": REQUIRED, "questions": ("id", "question")}


class BadRow(NamedTuple):
    """A row that breaks the record: zero-based row, column and what is wrong."""

    row: int
    column: str
    problem: str


def conform(table: pa.Table, where: str, kind: str = "traces") -> pa.Table:
    """Give known columns the record's types and order them first.

    Nothing changes its meaning: large strings become strings, whole floats (as pandas has them
    beside nulls) integers, but a number never becomes text.

    Args:
        table: Rows with any columns; unknown ones (scores, say) are kept as they are.
        where: File or data set, for the message.
        kind: ``traces`` or ``questions``, which need less.

    Raises:
        UserError: A required column is missing, or a column is of another type.
    """
    for name in REQUIRED_OF[kind]:
        if name not in table.column_names:
            raise UserError(
                f"{where}: column {name!r} is missing; needed: {', '.join(REQUIRED_OF[kind])}; "
                f"found: {', '.join(table.column_names)}"
            )
    known = [name for name in COLUMNS if name in table.column_names]
    arrays = []
    for name in known:
        found, wanted = table[name].type, COLUMNS[name].type
        if not _same_kind(found, wanted):
            raise UserError(f"{where}: column {name!r} is {found}, not {wanted}")
        try:
            arrays.append(table[name].cast(wanted))
        except pa.ArrowException as error:
            raise UserError(f"{where}: column {name!r} is {found}, not {wanted}: {error}") from None
    rest = [name for name in table.column_names if name not in COLUMNS]
    return pa.table([*arrays, *(table[name] for name in rest)], names=[*known, *rest])


def bad_rows(table: pa.Table, kind: str = "traces") -> list[BadRow]:
    """Every violation of the record in a conformed table, in row order."""
    return sorted(_violations(table, kind), key=lambda bad: bad.row)


def check(table: pa.Table, where: str, kind: str = "traces") -> pa.Table:
    """``conform``, then refuse the first bad row.

    Raises:
        UserError: Naming file, row and column.
    """
    table = conform(table, where, kind)
    if bad := bad_rows(table, kind):
        first = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{where}: row {first.row}: column {first.column!r}: {first.problem}{more}")
    return table


def refuse_repeated(ids: pa.ChunkedArray, where: str) -> None:
    """Raise UserError where an id stands twice."""
    for bad in _repeated_ids(ids):
        raise UserError(f"{where}: row {bad.row}: column {bad.column!r}: {bad.problem}")


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found) or found == wanted:
        return True
    if pa.types.is_string(wanted):
        return pa.types.is_large_string(found) or pa.types.is_string_view(found)
    if pa.types.is_integer(wanted):
        return pa.types.is_integer(found) or pa.types.is_floating(found)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and _same_kind(found.value_type, wanted.value_type)
    return False


def _violations(table: pa.Table, kind: str) -> Iterator[BadRow]:
    for name in REQUIRED_OF[kind]:
        yield from _where(pc.is_null(table[name]), name, "is null")
        if not COLUMNS[name].allow_empty:
            blank = pc.equal(pc.utf8_trim_whitespace(table[name]), "")
            yield from _where(blank, name, "is empty")
    for name in {"reasoning", "answer"} & set(table.column_names):
        for tag in (THINK_OPEN, THINK_CLOSE):
            found = pc.match_substring(table[name], tag)
            yield from _where(found, name, f"holds the tag {tag}; reasoning and answer are apart")
    if "verbosity" in table.column_names:
        outside = pc.or_(pc.less(table["verbosity"], 0), pc.greater(table["verbosity"], 10))
        yield from _where(outside, "verbosity", "is outside 0..10")
    for name in ("response_tokens", "num_steps", "sample"):
        if name in table.column_names:
            yield from _where(pc.less(table[name], 0), name, "is negative")
    yield from _repeated_ids(table["id"])


def _where(mask: Any, column: str, problem: str) -> Iterator[BadRow]:
    for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
        yield BadRow(row, column, problem)


def _repeated_ids(ids: pa.ChunkedArray) -> Iterator[BadRow]:
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    seen: set[str] = set()
    for row, value in enumerate(ids.to_pylist()):
        if value in seen:
            yield BadRow(row, "id", f"{value!r} appears twice")
        seen.add(value)
