"""Foreign rows to records: JSONL with our columns, ``{question, response}`` and ``messages``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces import record
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

log = logging.getLogger(__name__)
OnBadRow = Literal["error", "skip"]
Row = dict[str, Any]


class Quarantined(NamedTuple):
    """A row that was left out: zero-based row in its file, why, and its text."""

    row: int
    reason: str
    text: str


class _BadRowError(Exception):
    """Why one row cannot become a record."""


def split_response(response: str) -> tuple[str, str]:
    """Reasoning and answer of a response with think tags; without tags it is all answer.

    A missing opening tag is allowed (teachers whose template prefills it leave it out).

    Raises:
        ValueError: The block is opened and never closed, or closed twice.
    """
    if THINK_CLOSE not in response:
        if THINK_OPEN in response:
            raise ValueError(f"{THINK_OPEN} is never closed (a cut-off response?)")
        return "", response.strip()
    if response.count(THINK_CLOSE) > 1 or response.count(THINK_OPEN) > 1:
        raise ValueError("there is more than one think block")
    reasoning, _, answer = response.partition(THINK_CLOSE)
    before, _, inside = reasoning.rpartition(THINK_OPEN)
    if before.strip():
        raise ValueError(f"there is text in front of {THINK_OPEN}")
    return inside.strip(), answer.strip()


def _from_response(row: Row) -> Row:
    out = {key: value for key, value in row.items() if key != "response"}
    out["reasoning"], out["answer"] = split_response(_text(row, "response"))
    return out


def _from_messages(row: Row) -> Row:
    turns = row["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _BadRowError("column 'messages': is no list of {role, content}")
    talk = [turn for turn in turns if turn.get("role") != "system"]
    if [turn.get("role") for turn in talk] != ["user", "assistant"]:
        roles = [turn.get("role") for turn in talk]
        raise _BadRowError(f"column 'messages': needs one user and one assistant turn, has {roles}")
    out = {key: value for key, value in row.items() if key != "messages"}
    out["question"] = _text(talk[0], "content")
    reasoning = talk[1].get("reasoning_content")
    if reasoning:
        out["reasoning"], out["answer"] = reasoning.strip(), _text(talk[1], "content").strip()
    else:
        out["reasoning"], out["answer"] = split_response(_text(talk[1], "content"))
    return out


def _text(row: Mapping[str, Any], key: str) -> str:
    if not isinstance(row.get(key), str):
        raise _BadRowError(f"column {key!r}: is {row.get(key)!r}, not text")
    return str(row[key])


def adapter_for(row: Row) -> Callable[[Row], Row]:
    """The adapter that fits a row's keys: ``messages``, ``response`` or our own columns."""
    if "messages" in row:
        return _from_messages
    if "response" in row and "answer" not in row:
        return _from_response
    return dict


def read_jsonl(
    path: str | Path,
    *,
    teacher: str | None = None,
    on_bad_row: OnBadRow = "error",
    quarantine: str | Path | None = None,
) -> pa.Table:
    """Read traces from JSONL in any of the three shapes.

    Args:
        path: One JSON object per line; only a newline ends a line.
        teacher: Name of the teacher where the rows have none.
        on_bad_row: ``error`` refuses the file at its first bad row; ``skip`` leaves bad rows out,
            counts them and lists them in ``quarantine``.
        quarantine: File for the rows left out; default ``<path>.quarantine.jsonl``.

    Raises:
        UserError: The file is missing, or a row is bad and ``on_bad_row`` is ``error``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if on_bad_row not in ("error", "skip"):
        raise UserError(f"on_bad_row is {on_bad_row!r}; allowed: error, skip")
    kept: list[Row] = []
    origin: list[tuple[int, str]] = []
    left_out: list[Quarantined] = []
    for number, line in _lines(path):
        try:
            kept.append(_row_to_record(line, f"{path.stem}-{number}", teacher))
            origin.append((number, line))
        except (_BadRowError, ValueError) as error:
            if on_bad_row == "error":
                raise UserError(f"{path}: row {number}: {error}") from None
            left_out.append(Quarantined(number, str(error), line))
    if not kept:
        raise UserError(f"{path}: there is no usable trace ({len(left_out)} bad rows)")
    table = _table(kept, path)
    bad = record.bad_rows(table)
    if bad and on_bad_row == "error":
        raise UserError(
            f"{path}: row {origin[bad[0].row][0]}: column {bad[0].column!r}: {bad[0].problem}"
        )
    for row in bad:
        left_out.append(
            Quarantined(
                origin[row.row][0], f"column {row.column!r}: {row.problem}", origin[row.row][1]
            )
        )
    if bad:
        gone = {row.row for row in bad}
        table = table.take([index for index in range(table.num_rows) if index not in gone])
    if left_out:
        _write_quarantine(left_out, Path(quarantine or f"{path}.quarantine.jsonl"), path)
    return table


def write_jsonl(table: pa.Table, path: str | Path) -> None:
    """Write rows as JSONL, one object per line, whole or not at all; nulls are left out."""
    with replacing_file(Path(path)) as partial, partial.open("w", encoding="utf-8") as handle:
        for batch in table.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                full = {key: value for key, value in row.items() if value is not None}
                handle.write(json.dumps(full, ensure_ascii=False) + "\n")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", newline="\n") as handle:
        for number, line in enumerate(handle):
            if line.strip():
                yield number, line.rstrip("\n")


def _row_to_record(line: str, default_id: str, teacher: str | None) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise _BadRowError(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise _BadRowError("is no JSON object")
    out = adapter_for(row)(row)
    out.setdefault("id", default_id)
    out["id"] = str(out["id"])
    if teacher is not None:
        out.setdefault("teacher", teacher)
    for name in record.REQUIRED:
        if name not in out:
            hint = "; give the teacher's name" if name == "teacher" else ""
            raise _BadRowError(f"column {name!r}: is missing{hint}")
    return out


def _table(rows: list[Row], path: Path) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = []
    for name in names:
        values = [row.get(name) for row in rows]
        column = record.COLUMNS.get(name)
        try:
            arrays.append(pa.array(values, type=column.type if column else None))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UserError(f"{path}: column {name!r}: {error}") from None
    return record.conform(pa.table(arrays, names=names), str(path))


def _write_quarantine(rows: list[Quarantined], target: Path, path: Path) -> None:
    rows = sorted(rows)
    with replacing_file(target) as partial, partial.open("w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")
    log.warning("%s: %d bad rows left out, listed in %s", path, len(rows), target)
