"""JSONL to records and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces import record
from nt_lightning.traces.importing import Rows
from nt_lightning.traces.quarantine import OnBadRow
from nt_lightning.traces.sources import open_source, opener


def read_jsonl(
    path: str | Path,
    *,
    teacher: str | None = None,
    on_bad_row: OnBadRow = "error",
    quarantine: str | Path | None = None,
) -> pa.Table:
    """Read the rows of a file into memory, in any format; ``pool import`` reads larger ones.

    Values are of the record's types or the row is bad: nothing is cast, except whole numbers
    written as ``5.0`` and numeric ids. Unknown columns are kept; each has one kind of values.

    Args:
        path: One JSON object per line in UTF-8; only a newline ends a line; ``.gz`` is unpacked.
        teacher: Name of the teacher where the rows have none.
        on_bad_row: ``error`` refuses the file at a bad row; ``skip`` leaves bad rows out.
        quarantine: File for the rows left out, replies that broke off among them; default
            ``<path>.quarantine.jsonl``.

    Returns:
        Conformed rows in the file's order; ids default to ``<file's stem>-<row>``.

    Raises:
        UserError: The file is missing or damaged, no row is usable, or a row is bad and
            ``on_bad_row`` is ``error``: the message names file, row and column.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file")
    rows = Rows(open_source(str(path)), teacher=teacher, on_bad_row=on_bad_row)
    rows.quarantine.write(Path(quarantine or f"{path}.quarantine.jsonl"))
    rows.refuse_empty()
    assert rows.kind is not None  # there are rows
    return record.conform(pa.concat_tables(rows.tables()), str(path), rows.kind)


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
        opener(path)(part, "wt", encoding="utf-8") as handle,
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
