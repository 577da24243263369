"""Pools made from pools: nothing is overwritten unasked, and every step stays in the lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from nt_lightning.errors import UserError
from nt_lightning.files import sweep
from nt_lightning.traces.pool import MANIFEST, Kind, Pool, refuse_foreign, write_pool


def refuse_output(output: str | Path, overwrite: bool, source: Pool | None = None) -> Path:
    """The folder of a new pool, or an error before anything takes time.

    A pool that its command could not finish, for a cap or a server, is replaced unasked.

    Raises:
        UserError: The folder is the source, holds something else, or a pool that may not be
            replaced.
    """
    folder = Path(output)
    if source is not None and folder.resolve() == source.folder.resolve():
        raise UserError(f"output: {output} is the pool that is read; give another folder")
    sweep(folder)
    refuse_foreign(folder)
    if (folder / MANIFEST).is_file() and not overwrite and not _is_unfinished(folder):
        raise UserError(f"output: {output} holds a pool; give --overwrite true to replace it")
    return folder


def write_derived(
    source: Pool,
    rows: pa.Table | Iterable[pa.Table],
    output: Path,
    lineage: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    *,
    kind: Kind = "traces",
    extras: Callable[[Path], None] | None = None,
) -> Pool:
    """Write what a command has made of a pool.

    Args:
        source: The pool that was read; its lineage is kept under ``from``.
        rows: The new rows, one shard in memory at a time.
        output: Folder of the new pool.
        lineage: The command, its settings and what it counted; a function of no arguments is
            called when the last row has been written.
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
    return write_pool(
        rows,
        output,
        lambda: {**(lineage() if callable(lineage) else lineage), "from": made_from},
        kind=kind,
        extras=extras,
    )


def _is_unfinished(folder: Path) -> bool:
    return bool(Pool(folder, "questions").manifest["lineage"].get("unfinished"))
