"""JSONL to records and back: rows with our own columns or in a foreign shape."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces import columns, record
from nt_lightning.traces.reasoningflow import Labels, from_annotations, is_annotated
from nt_lightning.traces.shapes import BadRowError, Row, from_messages, from_response

log = logging.getLogger(__name__)
OnBadRow = Literal["error", "skip"]
ROWS_PER_CHUNK = 10_000


class Quarantined(NamedTuple):
    """A row that was left out: zero-based row in its file, why, and its text."""

    row: int
    reason: str
    text: str


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
        with replacing_file(target) as part, part.open("w", encoding="utf-8") as out:
            for row, line in lines(self.path):
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
    """Read traces from JSONL, each row in any of four shapes.

    A row has our own columns, or ``question`` and ``response``, or chat ``messages``, or is
    annotated step by step with ``nodes`` and ``edges``.

    Values are of the record's types or the row is bad: nothing is cast, except whole numbers
    written as ``5.0`` and numeric ids. Unknown columns are kept; each has one kind of values.

    Args:
        path: One JSON object per line in UTF-8; only a newline ends a line; ``.gz`` is unpacked.
        teacher: Name of the teacher where the rows have none.
        on_bad_row: ``error`` refuses the file at a bad row; ``skip`` leaves bad rows out, counts
            them and lists them in ``quarantine``.
        quarantine: File for the rows left out; default ``<path>.quarantine.jsonl``.

    Returns:
        Conformed rows in the file's order; ids default to ``<file's stem>-<row>``.

    Raises:
        UserError: The file is missing or damaged, no row is usable, or a row is bad and
            ``on_bad_row`` is ``error``: the message names file, row and column.
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
        path: The file; ``.gz`` is packed.
    """
    path = Path(path)
    tables = [rows] if isinstance(rows, pa.Table) else rows
    count = 0
    with (
        replacing_file(path) as part,
        _opener(path)(part, "wt", encoding="utf-8") as handle,
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


def adapter_for(row: Row, labels: Labels) -> Callable[[Row], Row]:
    """The adapter that fits a row's keys.

    Args:
        row: A row as it stands in the file.
        labels: Where an annotated row counts labels that are out of the vocabulary.
    """
    if "messages" in row:
        return from_messages
    if is_annotated(row):
        return partial(from_annotations, labels=labels)
    if "response" in row and "answer" not in row:
        return from_response
    return dict


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers and bytes of the lines that are not blank; binary, because U+2028 ends no line.

    Raises:
        UserError: The file is packed and damaged.
    """
    try:
        with _opener(path)(path, "rb") as handle:
            yield from ((number, line) for number, line in enumerate(handle) if line.strip())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is no whole gzip file: {error}") from None


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
    name, labels = Path(path.name.removesuffix(".gz")).stem, Labels()
    packed = path.suffix == ".gz"
    with tqdm(
        total=None if packed else path.stat().st_size,
        desc=f"reading {path.name}",
        unit="B",
        unit_scale=True,
        delay=3,
        disable=None,
    ) as bar:
        for number, line in lines(path):
            try:
                yield number, _row_to_record(line, f"{name}-{number}", teacher, labels)
            except (BadRowError, ValueError) as error:
                bad.add(number, str(error))
            bar.update(len(line))
    labels.report(path)


def _opener(path: Path) -> Any:
    """``open``, or gzip's where the name says so."""
    return gzip.open if path.suffix == ".gz" else open


def _row_to_record(line: bytes, default_id: str, teacher: str | None, labels: Labels) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"is no UTF-8: {error.reason} at byte {error.start}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadRowError(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRowError("is no JSON object")
    out = adapter_for(row, labels)(row)
    if type(out.setdefault("id", default_id)) is int:
        out["id"] = str(out["id"])
    if teacher is not None and out.get("teacher") is None:
        out["teacher"] = teacher
    for name in record.REQUIRED:
        if name not in out:
            hint = "; give the teacher's name" if name == "teacher" else ""
            raise BadRowError(f"column {name!r}: is missing{hint}")
    return out
