"""Rows that wait in chunks, packed on the disk, until it is known which columns they all have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import feather

from nt_lightning.errors import UserError
from nt_lightning.traces.columns import ColumnBuilder, Row


class _OneChunk(ColumnBuilder):
    """A builder that remembers the kinds of columns and gives each chunk away."""

    def take(self) -> pa.Table:
        return self._chunks.pop()


class Chunks:
    """Tables of one source in the order in which they came.

    Args:
        folder: Where they wait; ``None``: in memory, for a source that is known to be small.
    """

    def __init__(self, folder: Path | None) -> None:
        self._builder = _OneChunk()
        self._folder = folder
        self._waiting: list[pa.Table | Path] = []
        self._schema = pa.schema([])

    def built(self, rows: Sequence[Row]) -> tuple[pa.Table | None, dict[int, str]]:
        """A table of rows, and places and problems of rows whose values have a wrong type.

        Raises:
            UserError: The objects or lists of an unknown column differ in their parts.
        """
        problems = self._builder.append(rows)
        return (self._builder.take() if len(problems) < len(rows) else None), problems

    def put(self, table: pa.Table) -> None:
        """Put a table away.

        Raises:
            UserError: A column does not go together with that of earlier tables.
        """
        try:
            self._schema = pa.unify_schemas(
                [self._schema, table.schema], promote_options="permissive"
            )
        except pa.ArrowException as error:
            raise UserError(f"a column's values do not go together: {error}") from None
        if self._folder is None:
            self._waiting.append(table)
            return
        file = self._folder / f"{len(self._waiting)}.arrow"
        feather.write_feather(table, str(file), compression="zstd")
        self._waiting.append(file)

    def tables(self) -> Iterator[pa.Table]:
        """The tables, all with the same columns: what one lacks is null there."""
        empty = self._schema.empty_table()
        for waiting in self._waiting:
            table = feather.read_table(waiting) if isinstance(waiting, Path) else waiting
            yield pa.concat_tables([empty, table], promote_options="permissive")
