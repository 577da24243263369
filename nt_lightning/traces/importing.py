"""Rows of a source to rows of a pool: each is taken, or left out for a reason that is counted.

A source is read once. Which replies were cut off is known only when all of a teacher's have been
seen, so rows wait in chunks on the disk; memory holds one chunk, and of the rows before it no more
than ids, teachers and numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.errors import UserError
from nt_lightning.traces import record
from nt_lightning.traces.chunks import Chunks
from nt_lightning.traces.finishing import Entry, Finisher
from nt_lightning.traces.formats import system_turns
from nt_lightning.traces.mixed import MixedColumns
from nt_lightning.traces.pool import Kind
from nt_lightning.traces.quarantine import OnBadRow, Quarantine
from nt_lightning.traces.shapes import BadRowError, DroppedRowError, Row
from nt_lightning.traces.sources import Source

log = logging.getLogger(__name__)
ROWS_PER_CHUNK = 1_000  # 20 MB of long reasoning
NO_BLOCK = "no end of thinking, but most replies of its teacher think (cut off, or an error?)"


class Rows:
    """The rows of a source that go into a pool.

    Where most replies of a teacher (more than half) have a think block, one without is no
    System-1 answer but a reply that broke off, and is dropped.

    Args:
        source: Where the rows come from.
        teacher: Who wrote the traces that do not say it.
        format: Name of the rows' format; ``None``: known by their columns.
        on_bad_row: See ``Quarantine``.
        folder: Where chunks wait; ``None``: in memory.

    Raises:
        UserError: A row is bad, or traces and questions are mixed.
    """

    def __init__(
        self,
        source: Source,
        *,
        teacher: str | None = None,
        format: str | None = None,
        on_bad_row: OnBadRow = "error",
        folder: Path | None = None,
    ) -> None:
        self.source = source
        self.kind: Kind | None = None
        self.num_in = 0
        self.quarantine = Quarantine(source, on_bad_row)
        self._finisher = Finisher(source.name, source.title, format, teacher)
        self._has_teacher = teacher is not None
        self.num_system_turns = 0
        self.mixed = MixedColumns(source.title)
        self._chunks = Chunks(folder)
        self._keys: list[pa.Table] = []  # of each chunk: number, id, teacher, thinks, kept
        entries = self._entries()
        while chunk := list(islice(entries, ROWS_PER_CHUNK)):
            self._append(chunk)
        self._finisher.labels.report(Path(source.title))
        self.num_renamed = self._finisher.num_renamed
        if self.num_renamed:
            said = "%s: %d ids stand twice; row numbers were added"
            log.warning(said, source.title, self.num_renamed)
        self._drop_cut_off()
        self._drop_repeated()

    @property
    def formats(self) -> list[str]:
        """Names of the formats that the rows have."""
        return sorted(self._finisher.used)

    def __len__(self) -> int:
        return sum(pc.sum(keys["kept"]).as_py() or 0 for keys in self._keys)

    def refuse_empty(self) -> None:
        """Raise UserError where no row is left."""
        if not len(self):
            first = f"; the first: {self.quarantine.first}" if self.quarantine.first else ""
            raise UserError(
                f"{self.source.title}: there is no usable row "
                f"({self.quarantine.total} left out{first})"
            )

    def tables(self) -> Iterator[pa.Table]:
        """The rows in the source's order, a chunk in memory at a time."""
        for table, keys in zip(self._chunks.tables(), self._keys, strict=True):
            table = self.mixed.without(table)
            if (kept := table.filter(keys["kept"])).num_rows:
                yield kept

    def _entries(self) -> Iterator[tuple[int, Entry]]:
        """Numbers and rows that have every column, none of which is known to be cut off."""
        for number, row in self.source.rows(self._finisher.choose):
            self.num_in += 1
            try:
                if isinstance(row, BadRowError):
                    raise row
                one, entries = self._finisher.entries(row, number)
            except BadRowError as error:
                self.quarantine.add(number, None, error)
                continue
            self._refuse_mixture(one.kind, number)
            self.num_system_turns += system_turns(row)
            for entry in entries:
                if one.kind == "traces":
                    entry = self._named(entry, row, number)
                if entry.problem is None:
                    yield number, entry
                else:
                    self.quarantine.add(number, entry.row.get("id"), entry.problem)

    def _refuse_mixture(self, kind: Kind, number: int) -> None:
        if self.kind not in (None, kind):
            raise UserError(
                f"{self.source.place(number)}: its columns are those of {kind}, but the rows "
                f"before it are {self.kind}; a pool holds one or the other, so divide the file, "
                "or say with --format what every row is"
            )
        self.kind = kind

    def _named(self, entry: Entry, row: Row, number: int) -> Entry:
        """An entry, with the file's own columns in its problem where nobody says who wrote it.

        Raises:
            UserError: No row so far says it: one error, whatever ``on_bad_row``.
        """
        if "teacher" in entry.row or "question" not in entry.row:
            self._has_teacher = self._has_teacher or entry.row.get("teacher") is not None
            return entry
        said = "column 'teacher': is missing; give the teacher's name, --teacher NAME; found: "
        problem = BadRowError(f"{said}{', '.join(row)}")
        if not self._has_teacher:
            raise UserError(f"{self.source.place(number)}: {problem}")
        return (
            entry if isinstance(entry.problem, DroppedRowError) else entry._replace(problem=problem)
        )

    def _append(self, chunk: Sequence[tuple[int, Entry]]) -> None:
        """Check a chunk and put what is good of it away."""
        assert self.kind is not None
        self.mixed.take_out([entry.row for _, entry in chunk])
        table, problems = self._chunks.built([entry.row for _, entry in chunk])
        bad = {place: BadRowError(problem) for place, problem in sorted(problems.items())}
        chunk = self._without(chunk, bad)
        if table is None:
            return
        table, bad = record.conform(table, self.source.title, self.kind), {}
        for found in record.bad_rows(table, self.kind):
            bad.setdefault(found.row, BadRowError(f"column {found.column!r}: {found.problem}"))
        table = table.filter(pa.array([place not in bad for place in range(len(chunk))]))
        chunk = self._without(chunk, bad)
        self._chunks.put(table)
        keys = {
            "number": pa.array([number for number, _ in chunk], pa.int64()),
            "id": table["id"],
            "thinks": pa.array([entry.thinks for _, entry in chunk], pa.bool_()),
            "kept": pa.array([True] * len(chunk), pa.bool_()),
        }
        if self.kind == "traces":
            keys["teacher"] = table["teacher"]
        self._keys.append(pa.table(keys))

    def _without(
        self, chunk: Sequence[tuple[int, Entry]], bad: dict[int, BadRowError]
    ) -> list[tuple[int, Entry]]:
        for place, problem in bad.items():
            number, entry = chunk[place]
            self.quarantine.add(number, entry.row.get("id"), problem)
        return [one for place, one in enumerate(chunk) if place not in bad]

    def _drop_cut_off(self) -> None:
        """Leave out replies that do not think though most of their teacher's do."""
        if self.kind != "traces" or not self._keys:
            return
        judged = pa.concat_tables([keys.select(["teacher", "thinks"]) for keys in self._keys])
        by_teacher = judged.group_by("teacher").aggregate([("thinks", "sum"), ("thinks", "count")])
        thinkers = [
            row["teacher"]
            for row in by_teacher.to_pylist()
            if 2 * (row["thinks_sum"] or 0) > row["thinks_count"]
        ]
        for place, keys in enumerate(self._keys):
            is_thinker = pc.is_in(keys["teacher"], pa.array(thinkers, pa.string()))
            cut_off = pc.and_(pc.invert(keys["thinks"]), is_thinker)
            self._leave_out(place, cut_off, lambda _: DroppedRowError(NO_BLOCK))

    def _drop_repeated(self) -> None:
        """Leave out rows whose id a row of an earlier chunk has; the record finds the others."""
        ids = [array for keys in self._keys for array in keys["id"].chunks]
        if pc.count_distinct(pa.chunked_array(ids, pa.string())).as_py() == sum(map(len, ids)):
            return
        seen: set[str] = set()
        for place, keys in enumerate(self._keys):
            names = keys["id"].to_pylist()
            repeated = pa.array([name in seen for name in names], pa.bool_())
            self._leave_out(place, repeated, _appears_twice)
            seen.update(names)

    def _leave_out(
        self, place: int, mask: pa.ChunkedArray, problem: Callable[[str], BadRowError]
    ) -> None:
        """Leave out those rows of a chunk that are not yet."""
        keys = self._keys[place]
        mask = pc.and_(pc.fill_null(mask, False), keys["kept"])
        for row in keys.filter(mask).select(["number", "id"]).to_pylist():
            self.quarantine.add(row["number"], row["id"], problem(row["id"]))
        kept = pc.and_(keys["kept"], pc.invert(mask))
        self._keys[place] = keys.set_column(keys.column_names.index("kept"), "kept", kept)


def _appears_twice(name: str) -> BadRowError:
    return BadRowError(f"column 'id': {name!r} appears twice")
