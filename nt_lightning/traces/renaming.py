"""Columns of a source under other names, for files that call a question a prompt, say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from nt_lightning.errors import UserError
from nt_lightning.traces.shapes import BadRowError, Row
from nt_lightning.traces.sources import Choose, Part, Source


class Renamed:
    """A part of a source, some columns of which have other names.

    Args:
        part: The part.
        names: New names by those in the source. A column that has a new name already is not read
            where the one that takes its place is.
    """

    def __init__(self, part: Part, names: Mapping[str, str]) -> None:
        self.where, self._part, self._names = part.where, part, names

    def rows(self, choose: Choose) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows, or why a row cannot be read; ``choose`` sees the new names."""

        def chosen(columns: list[str]) -> list[str]:
            old = {name: column for column, name in self._new(columns).items()}
            return [old[name] for name in choose(list(old))]

        for number, row in self._part.rows(chosen):
            if isinstance(row, BadRowError):
                yield number, row
            else:
                new = self._new(row)
                yield number, {new[name]: value for name, value in row.items() if name in new}

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as they stand there."""
        return self._part.texts(numbers)

    def _new(self, columns: Collection[str]) -> dict[str, str]:
        """New names of the columns that are read, by their own."""
        taken = {self._names[name] for name in columns if name in self._names}
        kept = [name for name in columns if name in self._names or name not in taken]
        return {name: self._names.get(name, name) for name in kept}


def renamed(source: Source, given: Sequence[str]) -> Source:
    """A source with some columns under other names.

    Args:
        source: The source.
        given: NEW=OLD each, such as ``question=prompt``.

    Raises:
        UserError: One has another form.
    """
    names: dict[str, str] = {}
    for one in given:
        new, _, old = one.partition("=")
        if not new or not old or old in names or new in names.values():
            raise UserError(f"column is {one!r}; needed: NEW=OLD, such as question=prompt, once")
        names[old] = new
    if not names:
        return source
    parts = [Renamed(part, names) for part in source.parts]
    return Source(source.name, source.title, parts, source.lineage)
