"""Foreign rows to records: JSONL with our columns, ``{question, response}`` and ``messages``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces import columns, record
from nt_lightning.traces.responses import split_response

log = logging.getLogger(__name__)
OnBadRow = Literal["error", "skip"]
Row = dict[str, Any]
ROWS_PER_CHUNK = 10_000


class Quarantined(NamedTuple):
    """A row that was left out: zero-based row in its file, why, and its text."""

    row: int
    reason: str
    text: str


class _BadRowError(Exception):
    """Why one row cannot become a record."""


class _BadRows:
    """The bad rows of one file: the first is refused, or each is kept with its first reason."""

    def __init__(self, path: Path, on_bad_row: OnBadRow) -> None:
        self.path, self.on_bad_row = path, on_bad_row
        self.reasons: dict[int, str] = {}

    def add(self, row: int, reason: str) -> None:
        if self.on_bad_row == "error":
            raise UserError(f"{self.path}: row {row}: {reason}")
        self.reasons.setdefault(row, reason)

    def write(self, target: Path) -> None:
        """List the rows with their text, which is read a second time and not kept before."""
        with replacing_file(target) as partial, partial.open("w", encoding="utf-8") as out:
            for row, line in _lines(self.path):
                if row in self.reasons:
                    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
                    left_out = Quarantined(row, self.reasons[row], text)
                    out.write(json.dumps(left_out._asdict(), ensure_ascii=False) + "\n")
        log.warning("%s: %d bad rows left out, listed in %s", self.path, len(self.reasons), target)


def read_jsonl(
    path: str | Path,
    *,
    teacher: str | None = None,
    on_bad_row: OnBadRow = "error",
    quarantine: str | Path | None = None,
) -> pa.Table:
    """Read traces from JSONL in any of the three shapes.

    Values are of the record's types or the row is bad: nothing is cast, except whole numbers
    written as ``5.0`` and numeric ids. Unknown columns are kept; each has one kind of values.

    Args:
        path: One JSON object per line in UTF-8; only a newline ends a line.
        teacher: Name of the teacher where the rows have none.
        on_bad_row: ``error`` refuses the file at a bad row; ``skip`` leaves bad rows out, counts
            them and lists them in ``quarantine``.
        quarantine: File for the rows left out; default ``<path>.quarantine.jsonl``.

    Returns:
        Conformed rows in the file's order; ids default to ``<file's stem>-<row>``.

    Raises:
        UserError: The file is missing, no row is usable, or a row is bad and ``on_bad_row`` is
            ``error``: the message names file, row and column.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if on_bad_row not in ("error", "skip"):
        raise UserError(f"on_bad_row is {on_bad_row!r}; allowed: error, skip")
    bad = _BadRows(path, on_bad_row)
    table = _read(path, teacher, bad)
    if bad.reasons:
        bad.write(Path(quarantine or f"{path}.quarantine.jsonl"))
    if table is None or not table.num_rows:
        raise UserError(f"{path}: there is no usable trace ({len(bad.reasons)} bad rows)")
    return table


def write_jsonl(rows: pa.Table | Iterable[pa.Table], path: str | Path) -> int:
    """Write rows as JSONL, one object per line, whole or not at all; returns their number.

    Args:
        rows: A table, or several one after the other (a pool's shards); nulls are left out.
        path: The file.
    """
    tables = [rows] if isinstance(rows, pa.Table) else rows
    count = 0
    with (
        replacing_file(Path(path)) as partial,
        partial.open("w", encoding="utf-8") as handle,
        tqdm(desc="writing", unit=" rows", delay=3, disable=None) as bar,
    ):
        for table in tables:
            for batch in table.to_batches(max_chunksize=1000):
                for row in batch.to_pylist():
                    full = {key: value for key, value in row.items() if value is not None}
                    handle.write(json.dumps(full, ensure_ascii=False) + "\n")
                count += batch.num_rows
                bar.update(batch.num_rows)
    return count


def adapter_for(row: Row) -> Callable[[Row], Row]:
    """The adapter that fits a row's keys: ``messages``, ``response`` or our own columns."""
    if "messages" in row:
        return _from_messages
    if "response" in row and "answer" not in row:
        return _from_response
    return dict


def _read(path: Path, teacher: str | None, bad: _BadRows) -> pa.Table | None:
    """Good rows of a file, without the bad ones that the record finds; ``None`` without any."""
    builder = columns.ColumnBuilder()
    origin: list[int] = []
    rows = _rows(path, teacher, bad)
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        for place, reason in sorted(builder.append([row for _, row in chunk]).items()):
            bad.add(chunk[place][0], reason)
        origin += [number for number, _ in chunk if number not in bad.reasons]
    if not origin:
        return None
    table = record.conform(builder.table(), str(path))
    wrong = record.bad_rows(table)
    for found in wrong:
        bad.add(origin[found.row], f"column {found.column!r}: {found.problem}")
    if not wrong:
        return table
    return table.filter(pa.array([number not in bad.reasons for number in origin]))


def _rows(path: Path, teacher: str | None, bad: _BadRows) -> Iterator[tuple[int, Row]]:
    """Row numbers and rows with every required column."""
    with tqdm(
        total=path.stat().st_size,
        desc=f"reading {path.name}",
        unit="B",
        unit_scale=True,
        delay=3,
        disable=None,
    ) as bar:
        for number, line in _lines(path):
            try:
                yield number, _row_to_record(line, f"{path.stem}-{number}", teacher)
            except (_BadRowError, ValueError) as error:
                bad.add(number, str(error))
            bar.update(len(line))


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    """Non-blank lines; binary, because only a newline ends a line of JSONL (U+2028 does not)."""
    with path.open("rb") as handle:
        yield from ((number, line) for number, line in enumerate(handle) if line.strip())


def _row_to_record(line: bytes, default_id: str, teacher: str | None) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _BadRowError(f"is no UTF-8: {error.reason} at byte {error.start}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise _BadRowError(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise _BadRowError("is no JSON object")
    out = adapter_for(row)(row)
    if type(out.setdefault("id", default_id)) is int:
        out["id"] = str(out["id"])
    if teacher is not None and out.get("teacher") is None:
        out["teacher"] = teacher
    for name in record.REQUIRED:
        if name not in out:
            hint = "; give the teacher's name" if name == "teacher" else ""
            raise _BadRowError(f"column {name!r}: is missing{hint}")
    return out


def _from_response(row: Row) -> Row:
    """``response`` with a think block in it, or beside a column ``reasoning``."""
    out = {key: value for key, value in row.items() if key != "response"}
    if row.get("reasoning"):
        out["answer"] = _text(row, "response").strip()
    else:
        out["reasoning"], out["answer"] = _split(_text(row, "response"), "response")
    return out


def _from_messages(row: Row) -> Row:
    """One user and one assistant turn, the reasoning in it or beside ``messages``.

    A system turn is dropped, since the student has its own.
    """
    turns = row["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _BadRowError("column 'messages': is no list of {role, content}")
    talk = [turn for turn in turns if turn.get("role") != "system"]
    roles = [turn.get("role") for turn in talk]
    if roles != ["user", "assistant"]:
        raise _BadRowError(f"column 'messages': needs one user and one assistant turn, has {roles}")
    out = {key: value for key, value in row.items() if key != "messages"}
    out["question"] = _text(talk[0], "content")
    response = _text(talk[1], "content")
    if row.get("reasoning"):
        if _split(response, "messages") != ("", response.strip()):
            raise _BadRowError("column 'messages': has a think block beside a column 'reasoning'")
        out["answer"] = response.strip()
        return out
    # DeepSeek's interface has reasoning_content, OpenRouter's and vLLM's has reasoning
    for key in ("reasoning_content", "reasoning"):
        if talk[1].get(key):
            out["reasoning"], out["answer"] = _text(talk[1], key).strip(), response.strip()
            return out
    out["reasoning"], out["answer"] = _split(response, "messages")
    return out


def _split(response: str, column: str) -> tuple[str, str]:
    try:
        return split_response(response)
    except ValueError as error:
        raise _BadRowError(f"column {column!r}: {error}") from None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _BadRowError(f"column {key!r}: {columns.not_of('text', value)}")
    return value
