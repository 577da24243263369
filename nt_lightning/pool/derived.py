"""Pools made from pools: nothing is overwritten unasked, and every step stays in the lineage.

Every entry of a lineage has ``config_digest``, ``rows_in``, ``rows_out`` and ``dropped``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.files import digest, sweep
from nt_lightning.traces.pool import MANIFEST, Kind, Pool, refuse_foreign, write_pool


def refuse_output(
    output: str | Path,
    overwrite: bool,
    source: Pool | None = None,
    settings: Mapping[str, Any] | None = None,
    retry: bool = False,
) -> Path:
    """The folder of a new pool, or an error before anything takes time.

    A pool that its command could not finish, for a cap or a server, is replaced unasked by the
    same command: with the same settings, of the same source.

    Args:
        output: The folder.
        overwrite: Replace any pool that is there.
        source: The pool that is read.
        settings: Of the command, as ``write_derived`` gets them; ``None``: it leaves nothing
            unfinished.
        retry: The same command may replace a finished pool too, to mend it.

    Raises:
        UserError: The folder is the source, holds something else, or a pool that may not be
            replaced.
    """
    folder = Path(output)
    if source is not None and folder.resolve() == source.folder.resolve():
        raise UserError(f"output: {output} is the pool that is read; give another folder")
    sweep(folder)
    refuse_foreign(folder)
    if not (folder / MANIFEST).is_file() or overwrite:
        return folder
    lineage = Pool(folder, "questions").manifest["lineage"]
    is_same = settings is not None and source is not None and _is_same(lineage, source, settings)
    is_unfinished = bool(lineage.get("unfinished"))
    if is_same and (is_unfinished or retry):
        return folder
    what = "an unfinished pool of another command, pool or setting" if is_unfinished else "a pool"
    raise UserError(f"output: {output} holds {what}; give --overwrite true to replace it")


def write_derived(
    source: Pool,
    rows: pa.Table | Iterable[pa.Table],
    output: Path,
    settings: Mapping[str, Any],
    counted: Callable[[], Mapping[str, Any]],
    *,
    kind: Kind = "traces",
    extras: Callable[[Path], None] | None = None,
) -> Pool:
    """Write what a command has made of a pool.

    Args:
        source: The pool that was read; its lineage is kept under ``from``.
        rows: The new rows, one shard in memory at a time.
        output: Folder of the new pool.
        settings: The ``command``, and all that decides about the rows beside the source.
        counted: What else the lineage says, called when the last row has been written;
            ``dropped``, rows that are left out by reason, where there are any.
        kind: What the new rows are.
        extras: See ``write_pool``.

    Raises:
        UserError: As ``write_pool``.
    """
    made_from = {
        "pool": str(source.folder.resolve()),
        "digest": source.digest,
        "num_rows": len(source),
        "lineage": source.manifest["lineage"],
    }
    num_rows = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal num_rows
        for table in [rows] if isinstance(rows, pa.Table) else rows:
            num_rows += table.num_rows
            yield table

    def lineage() -> dict[str, Any]:
        counts = {"rows_in": len(source), "rows_out": num_rows, "dropped": {}, **counted()}
        return {**settings, "config_digest": digest(settings), **counts, "from": made_from}

    return write_pool(tables(), output, lineage, kind=kind, extras=extras)


def _is_same(lineage: Mapping[str, Any], source: Pool, settings: Mapping[str, Any]) -> bool:
    """Whether a pool was made of this source with these settings."""
    made_from = lineage.get("from") or {}
    same_source = made_from.get("digest") == source.digest
    return same_source and lineage.get("config_digest") == digest(settings)
