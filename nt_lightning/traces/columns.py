"""Rows of Python values to Arrow columns, strictly: a value of another type is named, not cast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.traces import record

Row = dict[str, Any]
_TYPES: dict[pa.DataType, tuple[str, Callable[[Any], bool]]] = {
    pa.string(): ("text", lambda value: type(value) is str),
    pa.int64(): ("a whole number", lambda value: _is_whole(value)),
    pa.bool_(): ("true or false", lambda value: type(value) is bool),
    pa.list_(pa.string()): ("a list of texts", lambda value: _is_list_of(str, value)),
    pa.list_(pa.int64()): ("a list of whole numbers", lambda value: _is_list_of(int, value)),
}
_PLAIN: dict[pa.DataType, set[type]] = {pa.string(): {str}, pa.int64(): {int}, pa.bool_(): {bool}}
_KINDS: dict[type, str] = {str: "text", bool: "true or false", int: "a number", float: "a number"}
_KINDS |= {list: "a list", dict: "an object"}  # with null, all that JSON has
_UNSTORABLE = (pa.ArrowException, UnicodeError, OverflowError)
_DISAGREE = "the objects or lists of an unknown column do not go together: {}"
_SHOWN = 60


class ColumnBuilder:
    """Appends chunks of rows to columns and leaves out rows with a value of a wrong type.

    A value of a known column has the record's type (``5.0`` counts as a whole number); the values
    of an unknown column are all of the kind of its first: text, numbers, flags, lists or objects.
    Arrow alone would take 5.5 as 5 and a text as the list of its letters.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._chunks: list[pa.Table] = []

    def append(self, rows: Sequence[Row]) -> dict[int, str]:
        """Add rows; returns the places in ``rows`` of those left out, and why.

        Raises:
            UserError: The objects or lists of an unknown column differ in their parts.
        """
        columns = _columns(rows)
        left_out: dict[int, str] = {}
        for name, values in columns.items():
            for place, problem in self._wrong_types(name, values):
                left_out.setdefault(place, f"column {name!r}: {problem}")
        if not left_out:
            try:
                self._chunks.append(_table(columns))
                return {}
            except _UNSTORABLE:  # one value among thousands: find it below
                pass
        for name, values in columns.items():
            for place in _unstorable(name, values):
                problem = f"{_short(values[place])} cannot be stored"
                left_out.setdefault(place, f"column {name!r}: {problem}")
        kept = [row for place, row in enumerate(rows) if place not in left_out]
        if kept:
            try:
                self._chunks.append(_table(_columns(kept)))
            except _UNSTORABLE as error:
                raise UserError(_DISAGREE.format(error)) from None
        return left_out

    def table(self) -> pa.Table:
        """All rows; a column that a chunk lacks is null there.

        Raises:
            UserError: The objects or lists of an unknown column differ in their parts.
        """
        try:
            return pa.concat_tables(self._chunks, promote_options="permissive")
        except pa.ArrowException as error:
            raise UserError(_DISAGREE.format(error)) from None

    def _wrong_types(self, name: str, values: list[Any]) -> Iterator[tuple[int, str]]:
        """Places of values of another type; rows are looked at only where some value is."""
        kinds = set(map(type, values)) - {type(None)}
        if name in record.COLUMNS:
            wanted = record.COLUMNS[name].type
            if kinds <= _PLAIN.get(wanted, set()):
                return
            expected, fits = _TYPES[wanted]
        else:
            first = next((_KINDS[type(value)] for value in values if value is not None), "")
            expected = self._kinds.setdefault(name, first) if first else ""
            if {_KINDS[kind] for kind in kinds} <= {expected}:
                return
            fits = lambda value: _KINDS[type(value)] == expected  # noqa: E731
        for place, value in enumerate(values):
            if value is not None and not fits(value):
                yield place, not_of(expected, value)


def not_of(expected: str, value: object) -> str:
    """``is 5, not text``, with long values cut."""
    return "is null" if value is None else f"is {_short(value)}, not {expected}"


def _short(value: object) -> str:
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ..."


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_list_of(kind: type, value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {kind}


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    types = {name: column.type for name, column in record.COLUMNS.items()}
    arrays = [pa.array(values, types.get(name)) for name, values in columns.items()]
    return pa.table(arrays, names=list(columns))


def _unstorable(name: str, values: list[Any]) -> Iterator[int]:
    """Places of values that Arrow does not take, alone or beside the column's first."""
    kind = record.COLUMNS[name].type if name in record.COLUMNS else None
    first: list[Any] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        try:
            pa.array([*first, value], kind)
            first = first or [value]
        except _UNSTORABLE:
            yield place
