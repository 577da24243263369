"""``pool export``."""

from __future__ import annotations

from pathlib import Path

from nt_lightning.errors import UserError


def export_pool(pool: str, output: str, overwrite: bool = False) -> None:
    """Write a pool as JSONL.

    Args:
        pool: Folder of the pool.
        output: File of the traces, one a line (.jsonl, or .jsonl.gz, which is packed); it can be
            imported again.
        overwrite: Replace a file that is already there.
    """
    from nt_lightning.files import sweep

    if not output.endswith((".jsonl", ".jsonl.gz")) and not Path(output).is_dir():
        raise UserError(f"output: {output}: allowed: a name that ends in .jsonl or .jsonl.gz")
    if Path(output).is_dir():
        raise UserError(f"output: {output} is a folder; give a file, such as {output}/pool.jsonl")
    sweep(Path(output))
    if Path(output).exists() and not overwrite:
        raise UserError(f"output: {output} exists; give --overwrite true to replace it")
    from nt_lightning.traces.adapters import write_jsonl
    from nt_lightning.traces.pool import Pool

    source = Pool(pool, "questions")
    num_rows = write_jsonl((part for _, part in source.shards()), output)
    print(f"{output}: {num_rows} {source.kind}")
