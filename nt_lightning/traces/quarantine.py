"""Rows that do not go into a pool: counted by reason, and listed with their text."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file
from nt_lightning.traces.shapes import BadRowError, DroppedRowError
from nt_lightning.traces.sources import Source

log = logging.getLogger(__name__)
OnBadRow = Literal["error", "skip"]
MALFORMED = "malformed"
TEXT_SHOWN = 2_000  # characters of a dropped row that are repeated


class LeftOut(NamedTuple):
    """One line of the list: the row in its file, from 0, its id, why, and its text."""

    file: str
    row: int
    id: str | None
    reason: str
    text: str


class Quarantine:
    """What is left out of one source.

    A row that is dropped because its reply is cut off, empty or unclear is as the set is; one with
    a column that is missing or of another type is a mistake, and ``on_bad_row`` says what happens.

    Args:
        source: Where the rows come from.
        on_bad_row: ``error`` refuses the source at a row that cannot be understood, ``skip``
            leaves it out.

    Raises:
        UserError: ``on_bad_row`` is something else.
    """

    def __init__(self, source: Source, on_bad_row: OnBadRow) -> None:
        if on_bad_row not in ("error", "skip"):
            raise UserError(f"on_bad_row is {on_bad_row!r}; allowed: error, skip")
        self.counts: Counter[str] = Counter()
        self.first = ""  # where the first row is that was left out, and why
        self._source, self._on_bad_row = source, on_bad_row
        self._rows: dict[int, list[tuple[str | None, BadRowError]]] = {}

    @property
    def total(self) -> int:
        """How many rows and traces are left out."""
        return sum(self.counts.values())

    def add(self, number: int, name: object, problem: BadRowError) -> None:
        """Leave out a row of the source, or the one of its traces that has this id.

        Raises:
            UserError: It cannot be understood and ``on_bad_row`` is ``error``.
        """
        if isinstance(problem, DroppedRowError):
            self.counts[problem.reason] += 1
        elif self._on_bad_row == "error":
            raise UserError(f"{self._source.place(number)}: {problem}")
        else:
            self.counts[MALFORMED] += 1
        self.first = self.first or f"{self._source.place(number)}: {problem}"
        shown = name if isinstance(name, str) else None
        self._rows.setdefault(number, []).append((shown, problem))

    def write(self, target: Path) -> None:
        """List what was left out, and say so; where that is nothing, an older list goes."""
        with self.writing(target):
            pass
        if self._rows:
            said = "%s: %d rows left out, listed in %s"
            log.warning(said, self._source.title, self.total, target)

    @contextmanager
    def writing(self, target: Path) -> Iterator[None]:
        """``write``, but an older list stays until the body is done, and if it fails."""
        if not self._rows:
            yield
            target.unlink(missing_ok=True)
            return
        with replacing_file(target) as partial:
            self._list(partial)
            yield

    def _list(self, file_of_list: Path) -> None:
        """Write the list; the text is the row's own, read a second time.

        It is whole where it was not understood, so that it can be mended, else its beginning.
        """
        with file_of_list.open("w", encoding="utf-8") as out:
            for number, text in self._source.texts(self._rows.keys()):
                file, row = self._source.place(number)
                for name, problem in self._rows[number]:
                    shown = text[:TEXT_SHOWN] if isinstance(problem, DroppedRowError) else text
                    entry = LeftOut(file, row, name, str(problem), shown)
                    out.write(json.dumps(entry._asdict(), ensure_ascii=False) + "\n")
