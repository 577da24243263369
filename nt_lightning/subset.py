"""``select``: a selection without training, its audit, and its traces as a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from nt_lightning.data.assemble import SELECTIONS, Picked, open_pool, pick
from nt_lightning.data.audit import AUDIT, SELECTED, write_audit
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.errors import UserError
from nt_lightning.files import write_json
from nt_lightning.report.selection import selection_tables, write_report
from nt_lightning.traces.pool import MANIFEST, Pool, refuse_foreign, take_rows, write_pool

AUDIT_FOLDER = "selection"


def write_subset(
    data: TraceDataModule, output: Path, compare: Sequence[str], overwrite: bool
) -> None:
    """Select, and write the training traces as a pool with the audit in its folder ``selection``.

    Args:
        data: The selection; no student is asked and nothing is tokenised.
        output: Folder of the new pool.
        compare: Runs or pools of ``select`` to measure the overlap with.
        overwrite: Replace a pool that is already there.

    Raises:
        UserError: ``output`` holds something or is the pool itself, or one of ``compare`` is no
            selection.
    """
    if (output / MANIFEST).is_file() and not overwrite:
        raise UserError(f"output: {output} holds a pool; give --overwrite true to replace it")
    refuse_foreign(output)
    others = [read_selected(Path(path)) for path in compare]
    pool = open_pool(data.pool_source)
    if output.resolve() == pool.folder.resolve():
        raise UserError(f"output: {output} is the pool that is selected from; give another folder")
    picked = pick(pool, data.wanted, data.select, data.selection_columns)
    lineage = {
        "command": "select",
        **data.about,
        "pool": pool.digest,
        "seed": data.wanted.seed,
        SELECTIONS: pool.manifest["lineage"].get(SELECTIONS, 0) + 1,
    }
    write_pool(_rows(pool, picked), output, lineage)
    folder = output / AUDIT_FOLDER
    audit = write_audit(pool, data.wanted, picked, data.about, folder)
    if others:
        names = _names([output, *map(Path, compare)])
        audit["overlap"] = overlap(names, [read_selected(folder), *others])
        write_json(folder / AUDIT, audit)
    write_report(audit, folder)
    console = Console(highlight=False, markup=False)
    for table in selection_tables(audit):
        console.print(table, "")
    console.print(f"{output}: {audit['selected']} traces; {folder} says which and why")


def read_selected(folder: Path) -> set[str]:
    """Ids of the traces that a run, or ``select``, has selected.

    Raises:
        UserError: The folder is neither's.
    """
    for path in (folder / SELECTED, folder / AUDIT_FOLDER / SELECTED):
        if path.is_file():
            return set(pq.read_table(path, columns=["id"])["id"].to_pylist())
    raise UserError(f"compare: {folder} holds no {SELECTED}; allowed: a run, or a pool of select")


def overlap(names: Sequence[str], selections: Sequence[set[str]]) -> dict[str, Any]:
    """Jaccard overlap of each pair: common traces / traces in either.

    Args:
        names: What the selections are called.
        selections: Their ids; none is empty.
    """
    return {
        "names": list(names),
        "sizes": [len(ids) for ids in selections],
        "jaccard": [[round(len(a & b) / len(a | b), 5) for b in selections] for a in selections],
    }


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of folders, or their paths where two have the same name."""
    names = [folder.name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]


def _rows(pool: Pool, picked: Picked) -> Iterator[pa.Table]:
    """Training traces with all their columns, a shard of the pool at a time."""
    rows = picked.rows[picked.chosen.train]
    for first, table in pool.shards():
        own = rows[(rows >= first) & (rows < first + table.num_rows)] - first
        yield take_rows(table, own)
