"""Unknown columns with values of several kinds: no table can hold them, so they are left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow as pa

from nt_lightning.traces import record
from nt_lightning.traces.shapes import Row

log = logging.getLogger(__name__)
_KINDS: dict[type, str] = {str: "text", bool: "true or false", int: "numbers", float: "numbers"}
_KINDS |= {list: "lists", dict: "objects"}  # with null, all that JSON has


class MixedColumns:
    """Finds them on the way; a column of the record is none, its rows are bad (see ``Rows``).

    Args:
        title: Of the source, for the warning.

    Attributes:
        names: Columns that are left out.
    """

    def __init__(self, title: str) -> None:
        self.names: set[str] = set()
        self._title = title
        self._kinds: dict[str, str] = {}  # of the unknown columns, by their first value

    def take_out(self, rows: Sequence[Row]) -> None:
        """Take such columns out of rows; each is told once."""
        for row in rows:
            for name in row.keys() - record.COLUMNS.keys() - self.names:
                kind = _KINDS.get(type(row[name]))
                if kind and self._kinds.setdefault(name, kind) != kind:
                    said = "%s: column %r is left out: it holds %s and %s"
                    log.warning(said, self._title, name, self._kinds[name], kind)
                    self.names.add(name)
        for row in rows:
            for name in self.names & row.keys():
                del row[name]

    def without(self, table: pa.Table) -> pa.Table:
        """A table of earlier rows without such columns."""
        return table.drop_columns(sorted(self.names.intersection(table.column_names)))
