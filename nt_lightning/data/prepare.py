"""From chosen rows to tokenised traces on disk, streamed shard by shard."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tqdm import tqdm

from nt_lightning.data.plan import Ints
from nt_lightning.errors import UserError
from nt_lightning.traces.formatting import EncodedExample, Example, PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, ThinkModes, mean_words
from nt_lightning.traces.pool import Pool, take_rows

log = logging.getLogger(__name__)
OnLong = Literal["error", "drop", "cut"]
ENCODE_BATCH = 512
EXAMPLE_COLUMNS = ["id", "question", "teacher", "reasoning", "answer"]
TOKENISED = pa.schema(
    {
        "id": pa.string(),
        "teacher": pa.string(),
        "mode": pa.int8(),
        "num_prompt": pa.int32(),
        "num_tokens": pa.int32(),
        "input_ids": pa.list_(pa.int32()),
    }
)


class Assigned(NamedTuple):
    """Pool rows of one split, ascending, and the mode of each as an index into MODE_NAMES."""

    rows: Ints
    modes: npt.NDArray[np.int8]


@dataclass
class Losses:
    """What the length policy cost, counted with reasons.

    Args:
        traces: Traces that were dropped.
        tokens: Response tokens that were dropped or cut off.
        answers: Traces whose final answer is gone, dropped or cut.
        ids: First ids concerned, at most ten.
    """

    traces: int = 0
    tokens: int = 0
    answers: int = 0
    ids: list[str] = field(default_factory=list)


def tokenise(
    pool: Pool,
    chosen: Assigned,
    formatter: PromptFormatter,
    modes: ThinkModes,
    *,
    max_tokens: int,
    on_long: OnLong,
    path: Path,
) -> Losses:
    """Write the chosen traces as an Arrow file of token ids.

    Rows are rendered and tokenised in batches (the tokenizer's threads work in parallel) and
    written as they come: memory does not grow with the pool.

    Args:
        pool: Where the traces are.
        chosen: Which, and in which mode.
        formatter: Renders and tokenises.
        modes: The think modes, ``{K}`` filled.
        max_tokens: Longest prompt and response together.
        on_long: ``error``, ``drop`` the trace, or ``cut`` its end (its answer is lost then).
        path: The Arrow file.

    Raises:
        UserError: A trace is too long under ``error``, no trace is left, a System-2 trace has no
            reasoning, or a prompt alone fills ``max_tokens`` under ``cut``.
    """
    losses = Losses()
    kept = 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, TOKENISED) as writer,
        tqdm(total=len(chosen.rows), desc="tokenising", delay=3, disable=None) as bar,
    ):
        for part, table in _batches(pool, chosen.rows, EXAMPLE_COLUMNS):
            codes = chosen.modes[part]
            encoded = formatter.encode(_examples(table, codes, modes))
            rows = _fit(table["id"].to_pylist(), encoded, max_tokens, on_long, losses)
            batch = _record_batch(table, codes, rows)
            writer.write_batch(batch)
            kept += batch.num_rows
            bar.update(table.num_rows)
    if not kept:
        raise UserError(
            f"no trace is left: all {losses.traces} are longer than max_tokens {max_tokens}"
        )
    return losses


def load_tokenised(path: Path) -> datasets.Dataset:
    """Memory-map what ``tokenise`` wrote."""
    return datasets.Dataset.from_file(str(path))


def num_words(pool: Pool, rows: Ints) -> int:
    """Mean words of reasoning and answer over pool rows, for ``{K}``; 0 without rows."""
    return mean_words(
        f"{row['reasoning']} {row['answer']}"
        for _, table in _batches(pool, rows, ["reasoning", "answer"])
        for row in table.to_pylist()
    )


def count_by_mode(modes: npt.NDArray[np.int8]) -> dict[str, int]:
    """Traces per mode name."""
    counts = Counter(modes.tolist())
    return {name: counts[code] for code, name in enumerate(MODE_NAMES)}


def _batches(pool: Pool, rows: Ints, columns: list[str]) -> Iterator[tuple[slice, pa.Table]]:
    """Pool rows, ascending, a few at a time: their place in ``rows`` and their columns."""
    for first, table in pool.shards(columns):
        begin, end = np.searchsorted(rows, [first, first + table.num_rows])
        for start in range(begin, end, ENCODE_BATCH):
            part = slice(start, min(start + ENCODE_BATCH, end))
            yield part, take_rows(table, rows[part] - first)


def _examples(table: pa.Table, codes: npt.NDArray[np.int8], modes: ThinkModes) -> list[Example]:
    examples = []
    for row, code in zip(table.to_pylist(), codes.tolist(), strict=True):
        system2 = MODE_NAMES[code] != "no_think"
        if system2 and not row["reasoning"].strip():
            raise UserError(
                f"trace {row['id']} of teacher {row['teacher']!r} has no reasoning, but the mixing "
                "makes it System-2; name the teachers to take with `teachers`"
            )
        reasoning = row["reasoning"] if system2 else None
        mode = modes[MODE_NAMES[code]]
        examples.append(Example(row["question"], reasoning, row["answer"], mode, row["id"]))
    return examples


def _fit(
    ids: list[str],
    encoded: list[EncodedExample],
    max_tokens: int,
    on_long: OnLong,
    losses: Losses,
) -> list[EncodedExample | None]:
    """Apply the length policy; ``None`` marks a dropped trace."""
    out: list[EncodedExample | None] = []
    for trace_id, example in zip(ids, encoded, strict=True):
        length = len(example.input_ids)
        if length <= max_tokens:
            out.append(example)
            continue
        cuttable = example.num_prompt < max_tokens - 1
        if on_long == "error" or (on_long == "cut" and not cuttable):
            raise UserError(
                f"trace {trace_id} has {length} tokens ({example.num_prompt} of them prompt); "
                f"max_tokens is {max_tokens}: raise it, or set on_long to "
                f"{'drop or cut' if cuttable else 'drop'}"
            )
        losses.answers += 1
        if len(losses.ids) < 10:
            losses.ids.append(trace_id)
        if on_long == "drop":
            losses.traces += 1
            losses.tokens += length - example.num_prompt
            out.append(None)
        else:
            losses.tokens += length - max_tokens
            out.append(EncodedExample(example.input_ids[:max_tokens], example.num_prompt))
    return out


def _record_batch(
    table: pa.Table, codes: npt.NDArray[np.int8], rows: list[EncodedExample | None]
) -> pa.RecordBatch:
    kept = [index for index, row in enumerate(rows) if row is not None]
    part = table.take(pa.array(kept, pa.int64()))
    examples = [row for row in rows if row is not None]
    return pa.record_batch(
        [
            part["id"].combine_chunks(),
            part["teacher"].combine_chunks(),
            pa.array(codes[kept]),
            pa.array([example.num_prompt for example in examples], pa.int32()),
            pa.array([len(example.input_ids) for example in examples], pa.int32()),
            pa.array([example.input_ids for example in examples], pa.list_(pa.int32())),
        ],
        schema=TOKENISED,
    )


def read_info(folder: Path) -> dict[str, Any]:
    """What ``TraceDataModule`` noted beside the tokenised traces."""
    return json.loads((folder / "info.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
