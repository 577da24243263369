"""``select``: a selection without training, its audit, and its traces as a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from nt_lightning.report.audit_rows import token_budget_of
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
    picked = pick(pool, data.wanted, data)
    names = _names([output, *map(Path, compare)])
    audit: dict[str, Any] = {}

    def write_beside(partial: Path) -> None:  # pool and audit appear at once
        folder = partial / AUDIT_FOLDER
        audit.update(write_audit(pool, data.wanted, picked, data.about, folder))
        if others:
            audit["overlap"] = overlap(names, [read_selected(folder), *others])
            write_json(folder / AUDIT, audit)
        write_report(audit, folder)

    write_pool(_rows(pool, picked), output, _lineage(data, pool), extras=write_beside)
    _show(audit, output, len(others))


def _lineage(data: TraceDataModule, pool: Pool) -> dict[str, Any]:
    """What the new pool's manifest says of how it was made."""
    return {
        "command": "select",
        **data.about,
        "pool": pool.digest,
        "seed": data.wanted.seed,
        SELECTIONS: pool.manifest["lineage"].get(SELECTIONS, 0) + 1,
    }


def _show(audit: Mapping[str, Any], output: Path, num_compared: int) -> None:
    """Print the tables, what was written where, and how to compare where little was compared."""
    console = Console(highlight=False, markup=False)
    for table in selection_tables(audit):
        console.print(table, "")
    taken = f"{audit['selected']:,} traces"
    if found := token_budget_of(audit):
        taken += f" with {found.spent:,} of at most {found.budget:,} tokens"
    lines = [f"{output}: {taken}; {output / AUDIT_FOLDER} says which and why"]
    if num_compared < 2:
        lines.append("overlap with runs or other pools of select: --compare A or --compare [A,B]")
    console.print("\n".join(lines), soft_wrap=True)


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
    """Shared traces of each pair, and their Jaccard overlap: shared / traces in either.

    Args:
        names: What the selections are called.
        selections: Their ids; none is empty.
    """
    return {
        "names": list(names),
        "sizes": [len(ids) for ids in selections],
        "shared": [[len(a & b) for b in selections] for a in selections],
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
