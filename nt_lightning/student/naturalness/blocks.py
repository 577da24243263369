"""Blocks of a pool's traces: scored together, written as a file each, put together at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nt_lightning.errors import UserError
from nt_lightning.files import digest, replacing_file
from nt_lightning.student.naturalness.layout import Ints
from nt_lightning.student.naturalness.scores import ResponseScores, aslec_casl
from nt_lightning.traces.pool import Pool

# A pool has about so many blocks of a size within these limits (our choice): half a minute on a
# CPU, and on a GPU no more files than a folder can hold.
NUM_BLOCKS = 2_000
BLOCK_CHARACTERS = 10_000, 2_000_000
TEXTS = ("reasoning", "answer")


class Block(NamedTuple):
    """Pool rows ``[start, end)``."""

    number: int
    start: int
    end: int


def blocks_of(pool: Pool) -> list[Block]:
    """Consecutive blocks of the pool's traces, by the length of their texts."""
    lengths = np.concatenate([_characters(table) for _, table in pool.shards(TEXTS)])
    least, most = BLOCK_CHARACTERS
    limit = min(max(least, int(lengths.sum()) // NUM_BLOCKS), most)
    borders, size = [0], 0
    for row, length in enumerate(lengths.tolist()):
        if size and size + length > limit:
            borders.append(row)
            size = 0
        size += length + 1
    borders.append(len(lengths))
    return [Block(i, *ends) for i, ends in enumerate(zip(borders, borders[1:], strict=False))]


def read_blocks(
    pool: Pool, blocks: Sequence[Block], columns: list[str]
) -> Iterator[tuple[Block, pa.Table]]:
    """Rows of some blocks, ascending, with one or two shards of the pool in memory."""
    wanted = iter(blocks)
    block = next(wanted, None)
    parts: list[pa.Table] = []
    for first, table in pool.shards(columns) if block is not None else ():
        while block is not None and block.start < first + len(table):
            start, end = max(block.start, first), min(block.end, first + len(table))
            parts.append(table.slice(start - first, end - start))
            if block.end > first + len(table):
                break  # goes on in the next shard
            yield block, pa.concat_tables(parts)
            parts = []
            block = next(wanted, None)
        if block is None:
            return


class BlockFiles:
    """Scores of finished blocks, each file whole or absent.

    Args:
        folder: Where the scores are to lie; the blocks lie beside it until all are there.
        device: Type of the device that computes them; blocks of another one are not continued.
    """

    def __init__(self, folder: Path, device: str) -> None:
        mark = digest([NUM_BLOCKS, BLOCK_CHARACTERS, device])[:8]
        self._begin = f".{folder.name}-"
        self.folder = folder.with_name(f"{self._begin}{mark}.work")

    def missing(self, blocks: Sequence[Block]) -> list[Block]:
        """Blocks that are not there yet."""
        return [block for block in blocks if not self._file(block).is_file()]

    def write(self, block: Block, table: pa.Table) -> None:
        """Add a block's rows, from ``block_table``."""
        with replacing_file(self._file(block)) as partial:
            pq.write_table(table, partial, compression="zstd")

    def read(self, block: Block, *, steps: bool) -> pa.Table:
        """A block's scores, or its steps' scores."""
        file = self._file(block)
        if not file.is_file():
            raise UserError(
                f"{file} is missing; give the command again, with the pool on a disk that all "
                "machines share"
            )
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException):
            raise UserError(f"{file} is damaged; remove it and give the command again") from None
        names = [field.name for field in table.schema if pa.types.is_list(field.type) == steps]
        if steps:
            return table.select(["id", *names]).rename_columns(
                ["id", *(name.removeprefix("steps/") for name in names)]
            )
        return table.select(names)

    def remove(self) -> None:
        """Remove all of them, and those of the same scores by other limits or devices."""
        for folder in self.folder.parent.glob(f"{self._begin}*.work"):
            shutil.rmtree(folder, ignore_errors=True)

    def _file(self, block: Block) -> Path:
        return self.folder / f"block-{block.number:06d}.parquet"


def block_table(traces: pa.Table, found: Sequence[ResponseScores]) -> pa.Table:
    """Scores of a block: id and teacher, a number per score, lists for the steps."""
    rows = [one.columns() for one in found]
    types = {"unscored_reason": pa.string(), "length": pa.int64(), "scored_steps": pa.int64()}
    columns: dict[str, pa.Array] = {"id": traces["id"], "teacher": traces["teacher"]}
    for name in rows[0]:
        columns[name] = pa.array([row[name] for row in rows], types.get(name, pa.float64()))
    for name in ("step_starts", "step_tokens"):
        columns[f"steps/{name}"] = pa.array([getattr(one, name) for one in found], _INTS)
    columns["steps/galp"] = pa.array([one.step_galp for one in found], _FLOATS)
    for window in found[0].lalp:
        values = [one.step_lalp.get(window) for one in found]
        columns[f"steps/lalp_{window}"] = pa.array(values, _FLOATS)
    return pa.table(columns)


def whole_table(files: BlockFiles, blocks: Sequence[Block]) -> pa.Table:
    """Scores of all blocks, with ``aslec_casl``, which is fitted over the pool."""
    table = pa.concat_tables([files.read(block, steps=False) for block in blocks])
    mean, first, rest, steps, tokens = (
        pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
        for name in ("galp", "step_first_logprob", "aslec_drop", "scored_steps", "length")
    )
    share = np.divide(steps, tokens, out=np.full(len(tokens), np.nan), where=tokens > 0)
    casl = pa.array(aslec_casl(mean, first, rest, share), from_pandas=True)
    place = table.column_names.index("aslec_drop") + 1
    return table.add_column(place, "aslec_casl", casl)


_INTS, _FLOATS = pa.list_(pa.int32()), pa.list_(pa.float32())


def _characters(table: pa.Table) -> Ints:
    lengths = [pc.fill_null(pc.utf8_length(table[name]), 0).to_numpy() for name in TEXTS]
    return np.sum(lengths, axis=0, dtype=np.int64)
