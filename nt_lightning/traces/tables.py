"""Rows of Arrow tables: Parquet files and data sets of the Hub, a few hundred at a time."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.traces.shapes import BadRowError, Row

log = logging.getLogger(__name__)
ROWS_AT_A_TIME = 500
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"@([0-9a-f]{40})/")
_BAR: dict[str, Any] = {"unit": " rows", "delay": 3, "disable": None}
_IN_JSON = (str, bool, int, float, type(None))


class ParquetFile:
    """One Parquet file, of which only the columns that are needed are read.

    Args:
        path: The file.

    Raises:
        UserError: It is no Parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except pa.ArrowException as error:
            raise UserError(f"{path}: is no whole Parquet file: {_first_line(error)}") from None

    def rows(
        self, choose: Callable[[list[str]], list[str]]
    ) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows."""
        columns = choose(_kept(self._file.schema_arrow, self.where))
        bar = tqdm(total=self._file.metadata.num_rows, desc=f"reading {self.path.name}", **_BAR)
        with bar:
            number = 0
            for batch in self._batches(columns):
                for row in python_rows(batch):
                    yield number, row
                    number += 1
                bar.update(batch.num_rows)

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as JSON."""
        first, wanted = 0, set(numbers)
        for batch in self._batches(None):
            for number in sorted(wanted.intersection(range(first, first + batch.num_rows))):
                (row,) = python_rows(batch.slice(number - first, 1))
                yield number, json.dumps(row, ensure_ascii=False, default=str)
            first += batch.num_rows

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._file.iter_batches(ROWS_AT_A_TIME, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.path}: cannot be read: {_first_line(error)}") from None


class HubSet:
    """One split of a data set of the Hub, memory-mapped from the cache of ``datasets``.

    Args:
        name: ``owner/name``.
        config_name: Its configuration, where it has several.
        split: Such as ``train`` or ``train[:1000]``.

    Raises:
        UserError: The Hub does not give it; the message says what was tried.
    """

    def __init__(self, name: str, config_name: str | None, split: str) -> None:
        self.name, self.config_name, self.split, self.where = name, config_name, split, name
        self._data = _load(name, config_name, split)

    def rows(
        self, choose: Callable[[list[str]], list[str]]
    ) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows."""
        data = self._data.select_columns(choose(_kept(self._data.features.arrow_schema, self.name)))
        number = 0
        with tqdm(total=len(data), desc=f"reading {self.name}", **_BAR) as bar:
            for table in data.with_format("arrow").iter(ROWS_AT_A_TIME):
                for row in python_rows(table):
                    yield number, row
                    number += 1
                bar.update(table.num_rows)

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as JSON."""
        data = self._data.with_format("arrow")
        for number in sorted(numbers):
            (row,) = python_rows(data[number])
            yield number, json.dumps(row, ensure_ascii=False, default=str)

    def lineage(self) -> dict[str, Any]:
        """Name, configuration, split, the commit it was downloaded at, and its fingerprint."""
        sources = " ".join(map(str, self._data.info.download_checksums or {}))
        commit = _COMMIT.search(sources)
        return {
            "input": self.name,
            "config_name": self.config_name,
            "split": self.split,
            "input_commit": commit[1] if commit else None,
            "input_fingerprint": self._data._fingerprint,
        }


def python_rows(table: pa.Table | pa.RecordBatch) -> list[Row]:
    """Rows of values that JSON has: times as ISO text, decimals as numbers, maps as lists."""
    rows: list[Row] = table.to_pylist()
    if all(_is_in_json(column.type) for column in table.schema):
        return rows
    return [{name: _in_json(value) for name, value in row.items()} for row in rows]


def _kept(schema: pa.Schema, where: str) -> list[str]:
    """Names of the columns without images and other bytes, which no pool has."""
    binary = [column.name for column in schema if _is_binary(column.type)]
    if binary:
        log.warning("%s: columns of bytes are left out: %s", where, ", ".join(binary))
    return [name for name in schema.names if name not in binary]


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_is_binary(kind.field(place).type) for place in range(kind.num_fields))
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _is_in_json(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind) and not pa.types.is_map(kind) and not pa.types.is_union(kind):
        return all(_is_in_json(kind.field(place).type) for place in range(kind.num_fields))
    if pa.types.is_dictionary(kind):
        return _is_in_json(kind.value_type)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(is_kind(kind) for is_kind in (*texts, *numbers))


def _in_json(value: Any) -> Any:
    if isinstance(value, _IN_JSON):
        return value
    if isinstance(value, dict):
        return {key: _in_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_json(one) for one in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)


def _load(name: str, config_name: str | None, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, config_name, split=split)
    except ValueError as error:  # the set is there; its configurations or splits are others
        raise UserError(f"input: the Hub's data set {name}: {_first_line(error)}") from None
    except Exception as error:  # whatever a download raises
        raise UserError(
            f"input: {name!r} is no file or folder here ({Path.cwd()}), and as a data set of the "
            f"Hub it cannot be loaded: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
