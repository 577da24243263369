"""Pools on disk: Parquet shards beside a manifest, opened with every byte verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from nt_lightning import __version__
from nt_lightning.errors import UserError
from nt_lightning.files import digest, replacing_folder, sha256_file
from nt_lightning.traces import record

MANIFEST = "manifest.json"
QUESTION_KEY = "question_key"  # what finds traces of one question without reading texts
Kind = Literal["traces", "questions"]
ROWS_AT_A_TIME = 2**16
ROWS_PER_SHARD = 50_000  # about a gigabyte of long reasoning in memory


@runtime_checkable
class PoolMaker(Protocol):
    """What can make a pool when there is none yet; a recipe names it by ``class_path``."""

    def fingerprint(self) -> str:
        """Hex digest of everything that the rows depend on."""

    def make(self) -> pa.Table:
        """The rows, the same for the same fingerprint."""

    def lineage(self) -> dict[str, Any]:
        """How the rows were made, as plain JSON."""


def pool_digest(folder: str | Path) -> str:
    """Digest of a pool from its manifest alone; the shards are verified when it is opened.

    Raises:
        UserError: The folder is no pool, or its manifest is damaged.
    """
    return str(_manifest_of(Path(folder))["digest"])


class Pool:
    """A pool folder: ``manifest.json`` and Parquet shards.

    Args:
        folder: A folder that ``write_pool`` made.
        kind: What is needed: ``traces``, or ``questions``, which a pool of traces has too.

    Raises:
        UserError: The folder is no pool, holds questions where traces are needed, has another
            schema version, or a byte of the manifest or of a shard is not what was written.
    """

    def __init__(self, folder: str | Path, kind: Kind = "traces") -> None:
        self.folder = Path(folder)
        self.manifest = _manifest_of(self.folder)
        if kind == "traces" and self.kind == "questions":
            raise UserError(
                f"{folder} holds questions without traces; "
                "`python -m nt_lightning pool generate` writes a pool of traces"
            )
        for shard in self.manifest["shards"]:
            file = self.folder / shard["file"]
            if not file.is_file():
                raise UserError(f"{self.folder}: shard {shard['file']} is missing")
            if sha256_file(file) != shard["sha256"]:
                raise UserError(f"{file} is damaged: its sha256 is not the manifest's")

    def __len__(self) -> int:
        return int(self.manifest["num_rows"])

    @property
    def kind(self) -> Kind:
        """``traces``, or ``questions`` where nobody has answered yet."""
        return "questions" if self.manifest.get("kind") == "questions" else "traces"

    @property
    def column_names(self) -> list[str]:
        """Columns of the pool, known ones first."""
        return list(self.manifest["columns"])

    @property
    def digest(self) -> str:
        """Hex digest of the shards' digests: the same bytes, the same digest."""
        return str(self.manifest["digest"])

    def shards(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """Each shard's first row number and its rows, one shard in memory at a time.

        Raises:
            UserError: A column is not in the pool.
        """
        self.require(columns or ())
        wanted = list(columns) if columns is not None else None
        first = 0
        for shard in self.manifest["shards"]:
            yield first, pq.read_table(self.folder / shard["file"], columns=wanted)
            first += shard["num_rows"]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows in order, memory-mapped; only ``columns`` are read.

        Raises:
            UserError: A column is not in the pool.
        """
        self.require(columns or ())
        files = [self.folder / shard["file"] for shard in self.manifest["shards"]]
        wanted = list(columns) if columns is not None else None
        return pa.concat_tables(
            [pq.read_table(file, columns=wanted, memory_map=True) for file in files]
        )

    def require(self, columns: Sequence[str]) -> None:
        """Raise UserError where the pool lacks a column."""
        for name in columns:
            if name in self.column_names:
                continue
            there = ", ".join(self.column_names)
            missing = f"{self.folder}: column {name!r} is missing"
            if name not in record.COLUMNS:
                raise UserError(f"{missing}; it has: {there}")
            written_by = record.COLUMNS[name].written_by
            raise UserError(f"{missing}; {written_by}; the pool has: {there}")


def write_pool(
    rows: pa.Table | Iterable[pa.Table],
    folder: str | Path,
    lineage: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    rows_per_shard: int = ROWS_PER_SHARD,
    kind: Kind = "traces",
    extras: Callable[[Path], None] | None = None,
) -> Pool:
    """Check rows and write them as a pool, whole or not at all.

    Args:
        rows: Rows of the record, in one table or, where they are too many for the memory, in
            several of the same columns; a column ``question_key`` is made anew from the questions.
        folder: Where the pool goes; an older pool there is replaced when the new one is complete.
        lineage: How the rows were made, as plain JSON; a function of no arguments is called when
            all rows have been written, for what is counted on the way.
        rows_per_shard: Rows in one Parquet file.
        kind: What the rows are; a question needs neither teacher nor reasoning nor answer.
        extras: Writes further files (a report, say) into the folder it is given, after the shards
            and before the pool takes its place.

    Raises:
        UserError: No rows, a row breaks the record, or ``folder`` holds something else.
    """
    folder = Path(folder)
    refuse_foreign(folder)
    tables = [rows] if isinstance(rows, pa.Table) else rows
    checked = (_with_question_keys(record.check(table, str(folder), kind)) for table in tables)
    with replacing_folder(folder) as partial:
        written = _write_shards(_rebatched(checked, rows_per_shard), partial)
        if not written.shards:
            raise UserError(f"{folder}: the pool is empty; a pool has at least one trace")
        keys = pa.chunked_array(written.keys)
        record.refuse_repeated(pa.chunked_array(written.ids), str(folder))
        manifest = {
            "schema_version": record.SCHEMA_VERSION,
            "kind": kind,
            "nt_lightning": __version__,
            "num_rows": len(keys),
            "num_questions": len(keys.unique()),
            "columns": written.columns,
            "digest": digest([shard["sha256"] for shard in written.shards]),
            "shards": written.shards,
            "lineage": dict(lineage() if callable(lineage) else lineage),
        }
        manifest = json.loads(json.dumps(manifest))  # what will be read back
        manifest["checksum"] = digest(manifest)
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        if extras is not None:
            extras(partial)
    return Pool(folder, kind)


def take_rows(table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of a table, ascending, batch by batch: texts may be more than one array can hold."""
    batches = table.to_batches(max_chunksize=ROWS_AT_A_TIME)
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    cuts = np.searchsorted(rows, starts)
    taken = [
        batch.take(pa.array(rows[cuts[number] : cuts[number + 1]] - starts[number]))
        for number, batch in enumerate(batches)
        if cuts[number] < cuts[number + 1]
    ]
    return pa.Table.from_batches(taken, schema=table.schema)


def refuse_foreign(folder: Path) -> None:
    """Raise UserError where a pool would replace a folder of something else."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is no pool and not empty; it is not replaced")


class _Written(NamedTuple):
    """What has been written: the manifest's shards and columns, and every row's id and key."""

    shards: list[dict[str, Any]]
    columns: list[str]
    ids: list[pa.Array]
    keys: list[pa.Array]


def _rebatched(tables: Iterable[pa.Table], rows_per_shard: int) -> Iterator[pa.Table]:
    """The same rows in tables of ``rows_per_shard``, the last one shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        while table.num_rows:
            room = rows_per_shard - sum(part.num_rows for part in waiting)
            waiting.append(table.slice(0, room))
            table = table.slice(room)
            if waiting[-1].num_rows == room:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _write_shards(tables: Iterable[pa.Table], folder: Path) -> _Written:
    written = _Written([], [], [], [])
    for index, part in enumerate(tqdm(tables, desc="writing shards", delay=3, disable=None)):
        file = folder / f"{index}.parquet"
        try:
            pq.write_table(part, file, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise UserError(f"a column cannot be written as Parquet: {error}") from None
        shard = {"file": file.name, "num_rows": part.num_rows, "sha256": sha256_file(file)}
        written.shards.append(shard)
        written.columns[:] = part.column_names
        written.ids.append(part["id"].combine_chunks())
        written.keys.append(part[QUESTION_KEY].combine_chunks())
    for index, shard in enumerate(written.shards):  # how many there are is known now
        name = f"traces-{index:05d}-of-{len(written.shards):05d}.parquet"
        (folder / shard["file"]).rename(folder / name)
        shard["file"] = name
    return written


def _with_question_keys(table: pa.Table) -> pa.Table:
    keys = [
        hashlib.blake2b(question.encode(), digest_size=8).hexdigest()
        for batch in table.select(["question"]).to_batches()
        for question in batch["question"].to_pylist()
    ]
    if QUESTION_KEY in table.column_names:
        table = table.drop_columns([QUESTION_KEY])
    return table.append_column(QUESTION_KEY, pa.array(keys, pa.string()))


def _manifest_of(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is no pool: it has no {MANIFEST}")
    return _read_manifest(path)


def _read_manifest(path: Path) -> dict[str, Any]:
    damaged = f"{path} is damaged: its text is not what was written"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(damaged) from None
    if not isinstance(manifest, dict):
        raise UserError(damaged)
    version = manifest.get("schema_version")
    if version != record.SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version is {version}, this version reads {record.SCHEMA_VERSION}"
        )
    checksum = manifest.pop("checksum", None)
    if checksum != digest(manifest):
        raise UserError(damaged)
    return manifest
