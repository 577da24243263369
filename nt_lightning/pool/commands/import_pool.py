"""``pool import``."""

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
