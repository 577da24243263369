"""``pool import``."""

from __future__ import annotations

from typing import Literal

Format = Literal[
    "natural_reasoning",
    "openr1_math",
    "openthoughts_metadata",
    "s1k",
    "openthoughts",
    "mip_overthinking",
    "limo",
    "gsm8k",
    "math",
    "messages",
    "conversations",
    "annotations",
    "response",
    "traces",
    "questions",
]


def import_pool(
    input: str,
    output: str,
    teacher: str | None = None,
    format: Format | None = None,
    config_name: str | None = None,
    split: str | None = None,
    tokenizer: str | None = None,
    column: list[str] | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    overwrite: bool = False,
) -> None:
    """Make a pool of traces, or of questions, from files or a data set of the Hub.

    Rows of public sets are known by their columns: NaturalReasoning, OpenThoughts-114k,
    OpenR1-Math-220k, s1K-1.1, LIMO, GSM8K, MATH-500, AIME, MiP-Overthinking. Other rows have our
    columns, or {question, response} with a think block in the response, or chat messages with one
    question and one answer; or a question alone, for a pool of questions.

    Replies that were cut off, are empty or cannot be divided into reasoning and answer are left
    out and listed in OUTPUT.quarantine.jsonl. Where a public set has an id twice, the later row's
    gets its number; in other files an id that stands twice is a row that cannot be understood.
    System turns are dropped and counted. Unknown columns are kept; one whose values are of several
    kinds is left out, with a warning.

    Args:
        input: File (.jsonl, .jsonl.gz, .json, .parquet), folder of Parquet or JSONL files, or a
            data set of the Hub as owner/name.
        output: Folder of the new pool.
        teacher: Who wrote the traces that do not say it in a column teacher.
        format: What the rows are, where their columns do not tell or tell wrong.
        config_name: Configuration of a Hub set; of a folder, the folder in it.
        split: Split of a Hub set or of a folder's files; default train.
        tokenizer: Model whose tokens of reasoning and answer are response_tokens where the rows do
            not say it: smollm2-135m-instruct, a Hub id or a folder.
        column: Columns that have other names in the files: question=prompt, or
            [question=prompt,reference_answer=gold] for several.
        on_bad_row: What a row does that cannot be understood (a column is missing or of another
            type): refuse the input, or be left out and listed in OUTPUT.quarantine.jsonl.
        overwrite: Replace a pool that is already there.
    """
    from nt_lightning.pool.imports import ImportSettings, import_rows

    given = (teacher, format, config_name, split, tokenizer, on_bad_row)
    settings = ImportSettings(*given, tuple(column or ()))
    print(import_rows(input, output, settings, overwrite))
