"""``python -m nt_lightning pool``: import, export and show.

Arrow is imported by the functions that need it, so that ``--help`` and a mistake answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nt_lightning.errors import UserError
from nt_lightning.files import sha256_file


def import_pool(
    input: str,
    output: str,
    teacher: str | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    overwrite: bool = False,
) -> None:
    """Make a pool from a JSONL file of traces.

    Rows have our columns, or {question, response} with a think block in the response, or chat
    messages with one question and one answer.

    Args:
        input: JSONL file, one trace a line.
        output: Folder of the new pool.
        teacher: Who wrote the traces that do not say it.
        on_bad_row: What a bad row does: refuse the file, or be left out and listed in
            OUTPUT.quarantine.jsonl.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.traces.adapters import read_jsonl
    from nt_lightning.traces.pool import MANIFEST, refuse_foreign, write_pool

    folder = Path(output)
    if (folder / MANIFEST).is_file() and not overwrite:
        raise UserError(f"output: {output} holds a pool; give --overwrite true to replace it")
    refuse_foreign(folder)
    quarantine = folder.with_name(f"{folder.name}.quarantine.jsonl")
    table = read_jsonl(input, teacher=teacher, on_bad_row=on_bad_row, quarantine=quarantine)
    lineage = {
        "command": "pool import",
        "input": str(Path(input).resolve()),
        "input_sha256": sha256_file(Path(input)),
        "teacher": teacher,
        "on_bad_row": on_bad_row,
        "rows_in": _count_lines(Path(input)),
        "rows_out": table.num_rows,
    }
    pool = write_pool(table, folder, lineage)
    print(f"{output}: {len(pool)} traces of {pool.manifest['num_questions']} questions")


def export_pool(pool: str, output: str, overwrite: bool = False) -> None:
    """Write a pool as JSONL.

    Args:
        pool: Folder of the pool.
        output: File of the traces, one a line; it can be imported again.
        overwrite: Replace a file that is already there.
    """
    from nt_lightning.traces.adapters import write_jsonl
    from nt_lightning.traces.pool import Pool

    if Path(output).exists() and not overwrite:
        raise UserError(f"output: {output} exists; give --overwrite true to replace it")
    num_rows = write_jsonl((part for _, part in Pool(pool).shards()), output)
    print(f"{output}: {num_rows} traces")


def show_pool(pool: str) -> None:
    """Show a pool's manifest, columns, counts and lengths.

    Args:
        pool: Folder of the pool.
    """
    from rich.console import Console

    from nt_lightning.pool.show import tables
    from nt_lightning.traces.pool import Pool

    console = Console(highlight=False, markup=False)
    for table in tables(Pool(pool)):
        console.print(table, "")


COMMANDS = {"import": import_pool, "export": export_pool, "show": show_pool}


def _count_lines(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(1 for line in handle if line.strip())
