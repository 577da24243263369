"""Pools made from files and public sets: what ``pool import`` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.files import digest, sweep, waiting_folder
from nt_lightning.models import load_tokenizer
from nt_lightning.pool.derived import refuse_output
from nt_lightning.pool.token_counts import fill_response_tokens
from nt_lightning.traces.importing import Rows
from nt_lightning.traces.pool import Pool, write_pool
from nt_lightning.traces.quarantine import OnBadRow
from nt_lightning.traces.renaming import renamed
from nt_lightning.traces.sources import Source, open_source


class ImportSettings(NamedTuple):
    """What decides about the rows of an import, beside the input itself; see ``pool import``."""

    teacher: str | None = None
    format: str | None = None
    config_name: str | None = None
    split: str | None = None
    tokenizer: str | None = None
    on_bad_row: OnBadRow = "error"
    column: tuple[str, ...] = ()


def import_rows(input: str, output: str, settings: ImportSettings, overwrite: bool = False) -> str:
    """Make a pool of traces or questions, and the list of what was left out.

    Args:
        input: File, folder, or data set of the Hub.
        output: Folder of the new pool; the list is OUTPUT.quarantine.jsonl.
        settings: How rows are read.
        overwrite: Replace a pool that is already there.

    Returns:
        One line that says what was made and what was left out.

    Raises:
        UserError: The input is missing or damaged, a row is bad, or the output is taken.
    """
    sweep(Path(output))
    folder = refuse_output(output, overwrite)
    quarantine = folder.with_name(f"{folder.name}.quarantine.jsonl")
    sweep(quarantine)
    # before anything takes time
    tokenizer = load_tokenizer(settings.tokenizer) if settings.tokenizer else None
    source = renamed(open_source(input, settings.config_name, settings.split), settings.column)
    with waiting_folder(folder) as waiting:
        rows = _read(source, settings, waiting)
        if not len(rows) and not folder.exists():  # else the list is that of the pool there
            rows.quarantine.write(quarantine)
        rows.refuse_empty()
        assert rows.kind is not None  # there are rows
        counted = _Counted(rows, tokenizer)
        with rows.quarantine.writing(quarantine):
            pool = write_pool(counted, folder, lambda: _lineage(counted, settings), kind=rows.kind)
    return f"{output}: {_made(pool, counted)}{_left_out(rows, quarantine)}"


class _Counted:
    """The tables of an import, with response_tokens where there is a tokenizer."""

    def __init__(self, rows: Rows, tokenizer: Any) -> None:
        self.rows, self.tokenizer, self.num_filled = rows, tokenizer, 0

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self.rows.tables():
            if self.tokenizer is not None:
                table, num_filled = fill_response_tokens(table, self.tokenizer)
                self.num_filled += num_filled
            yield table


def _read(source: Source, settings: ImportSettings, waiting: Path) -> Rows:
    """The rows; a UserError where an option is about responses and there are none."""
    rows = Rows(
        source,
        teacher=settings.teacher,
        format=settings.format,
        on_bad_row=settings.on_bad_row,
        folder=waiting,
    )
    for name in ("teacher", "tokenizer"):
        if rows.kind == "questions" and getattr(settings, name) is not None:
            raise UserError(f"{name}: {source.title} holds questions without responses")
    return rows


def _lineage(counted: _Counted, settings: ImportSettings) -> dict[str, Any]:
    rows = counted.rows
    return {
        "command": "pool import",
        **settings._asdict(),
        **rows.source.lineage(),
        "format": ", ".join(rows.formats),
        "config_digest": digest(settings._asdict()),
        "rows_in": rows.num_in,
        "rows_out": len(rows),
        "dropped": dict(rows.quarantine.counts),
        "ids_renamed": rows.num_renamed,
        "system_turns_dropped": rows.num_system_turns,
        "columns_left_out": sorted(rows.mixed.names),
        "response_tokens_filled": counted.num_filled,
    }


def _made(pool: Pool, counted: _Counted) -> str:
    num_questions = pool.manifest["num_questions"]
    made = f"{len(pool)} {pool.kind}"
    if pool.kind == "traces":
        made += f" of {num_questions} questions"
    elif num_questions != len(pool):
        made += f", {num_questions} different ones"
    if counted.rows.num_system_turns:
        made += f", {counted.rows.num_system_turns} system turns dropped"
    if counted.tokenizer is not None:
        made += f", response_tokens of {counted.num_filled} counted"
    return made


def _left_out(rows: Rows, quarantine: Path) -> str:
    counts = rows.quarantine.counts.most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    return f"; {rows.quarantine.total} left out ({reasons}), see {quarantine}" if reasons else ""
