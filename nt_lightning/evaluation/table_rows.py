"""Rows of local files: checked values, and messages that name a place and tell no content."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.evaluation.options import Options
from nt_lightning.files import sha256_file
from nt_lightning.traces.shapes import BadRowError
from nt_lightning.traces.sources import open_source


class TableRow(NamedTuple):
    """One row; messages name its place and never tell what stands in it."""

    place: str
    number: int
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """A text that is not empty; numbers are written out."""
        value = self.values.get(column)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"column {column!r} has {_kind(value)}; needed: a text")
        return value

    def texts(self, column: str) -> list[str]:
        """A list of texts."""
        values = self.values.get(column)
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
            raise self.error(f"column {column!r} has {_kind(values)}; needed: a list of texts")
        return list(values)

    def options(self, texts: Sequence[str], gold: int) -> Options:
        """Options without the blanks around them, in their order."""
        try:
            return Options(tuple(text.strip() for text in texts), gold)
        except ValueError as error:
            raise self.error(str(error)) from None

    def lettered(self, texts: Sequence[str], letter: str, padding: str | None = None) -> Options:
        """Options of which a letter tells the right one; those that are ``padding`` are left out.

        The letter counts all of them, so that padding in the middle moves it.
        """
        gold = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        shown = [place for place, text in enumerate(texts) if text != padding]
        if gold not in shown:
            raise self.error(f"the letter of the right option is none of {len(shown)} options")
        return self.options([texts[place] for place in shown], shown.index(gold))

    def error(self, what: str) -> UserError:
        """An error about this row."""
        return UserError(f"{self.place}: {what}")


def file_rows(path: str) -> Iterator[TableRow]:
    """Rows of a JSONL, JSON, Parquet or CSV file.

    Raises:
        UserError: A row cannot be read.
    """
    if path.endswith(".csv"):
        yield from _csv_rows(path)
        return
    source = open_source(path)
    for number, found in source.rows(lambda names: names):
        place = str(source.place(number))
        if isinstance(found, BadRowError):
            raise UserError(f"{place}: {found}")
        yield TableRow(place, number, found)


def _csv_rows(path: str) -> Iterator[TableRow]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            for number, values in enumerate(csv.DictReader(handle)):
                yield TableRow(f"{path}: row {number} (counted from 0)", number, values)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise UserError(f"{path}: is no CSV: {error}") from None


def check_columns(
    row: TableRow, columns: Sequence[str], where: str = "", is_confidential: bool = False
) -> None:
    """Refuse a row without its columns; the message names what is missing and what is there.

    Of a confidential set it does not tell what is there: in a CSV file without a header, the first
    question stands in place of the names.

    Raises:
        UserError: A column is missing.
    """
    if missing := [name for name in columns if name not in row.values]:
        there = [str(name) for name in row.values]
        found = f"{len(there)} others" if is_confidential else ", ".join(there) or "none"
        near = [] if is_confidential else _near(missing, there)
        raise row.error(
            f"no column {', '.join(map(repr, missing))}; found: {found}; "
            f"needed: {', '.join(columns)}{where and ', '}{where}"
            f"{'; did you mean ' if near else ''}{' and '.join(near)}{'?' if near else ''}"
        )


def _near(missing: Sequence[str], there: Sequence[str]) -> list[str]:
    """For each missing column the nearest one that is there, if any is near, whatever its case."""
    names = {name.lower(): name for name in there}
    found = [get_close_matches(name.lower(), names, 1) for name in missing]
    return [names[one] for matches in found for one in matches]


def file_origin(path: str) -> str:
    """A file's name and what tells its content from another's."""
    file = Path(path)
    return f"{file.name}, sha256 {sha256_file(file)[:12]}" if file.is_file() else file.name


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "an empty text" if value == "" else f"a value of the type {type(value).__name__}"
