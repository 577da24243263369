"""Blocks of a pool's distinct questions: read in the pool's order, written as files of vectors."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nt_lightning.errors import UserError
from nt_lightning.files import digest, replacing_file
from nt_lightning.traces.embeddings import Keys, Vectors, key_numbers
from nt_lightning.traces.pool import QUESTION_KEY, Pool

BLOCK_SIZE = 1024  # questions in one file: a moment on a GPU, ten seconds on a CPU (our choice)


class Questions(NamedTuple):
    """The distinct questions of a pool, without their texts.

    Args:
        keys: uint64 [Q], ascending.
        places: int64 [Q], in the order of the pool: where a question's key is in ``keys``.
        rows: int64 [Q], in the order of the pool: the first trace of a question.
    """

    keys: Keys
    places: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool) -> Questions:
        """Those of a pool."""
        numbers = key_numbers(pool.read([QUESTION_KEY])[QUESTION_KEY])
        keys, first = np.unique(numbers, return_index=True)
        places = np.argsort(first)
        return cls(keys, places, first[places])

    @property
    def num_blocks(self) -> int:
        """Blocks of all questions, the last one perhaps smaller."""
        return -(-len(self.keys) // BLOCK_SIZE)

    def block(self, index: int) -> slice:
        """Part of ``places`` and ``rows`` that is a block."""
        return slice(index * BLOCK_SIZE, min((index + 1) * BLOCK_SIZE, len(self.keys)))


class Block(NamedTuple):
    """Questions that are embedded and written together."""

    number: int
    ids: list[str]  # a trace of each, for messages
    questions: list[str]


class BlockReader:
    """Reads the texts of some blocks, in order, with one shard of the pool in memory.

    Args:
        pool: The pool.
        questions: Its questions.
        blocks: Which blocks, ascending.
    """

    def __init__(self, pool: Pool, questions: Questions, blocks: Sequence[int]) -> None:
        self.pool = pool
        self.questions = questions
        self.blocks = blocks
        sizes = [shard["num_rows"] for shard in pool.manifest["shards"]]
        self._starts = np.cumsum([0, *sizes])
        self._held: tuple[int, pa.Table] | None = None

    def __iter__(self) -> Iterator[Block]:
        for index in self.blocks:
            texts = pa.concat_tables(self._read(self.questions.rows[self.questions.block(index)]))
            yield Block(index, texts["id"].to_pylist(), texts["question"].to_pylist())

    def _read(self, rows: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            yield self._shard(shard).take(pa.array(rows[shards == shard] - self._starts[shard]))

    def _shard(self, index: int) -> pa.Table:
        if self._held is None or self._held[0] != index:
            self._held = None  # freed before the next is read
            file = self.pool.folder / self.pool.manifest["shards"][index]["file"]
            self._held = index, pq.read_table(file, columns=["id", "question"])
        return self._held[1]


class BlockFiles:
    """Vectors of finished blocks, each file whole or absent.

    Args:
        folder: Where they lie until all are there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, folder: Path, pool: Pool) -> BlockFiles:
        """Those of the embeddings that are to lie in ``folder``.

        Blocks depend on the order of the pool, embeddings do not.
        """
        order = digest([pool.digest, BLOCK_SIZE])[:8]
        return cls(folder.with_name(f".{folder.name}-{order}.work"))

    def missing(self, num_blocks: int) -> list[int]:
        """Blocks that are not there yet."""
        return [index for index in range(num_blocks) if not self._file(index).is_file()]

    def write(self, index: int, vectors: Vectors, num_cut: int) -> None:
        """Add a block.

        Args:
            index: Which one.
            vectors: float16 [B, D], in the order of its questions.
            num_cut: How many of its questions were too long.
        """
        with replacing_file(self._file(index)) as partial, partial.open("wb") as out:
            np.savez(out, vectors=vectors, num_cut=num_cut)

    def vectors(self, index: int) -> Vectors:
        """Vectors of a block, float16 [B, D]."""
        return np.asarray(self._read(index, "vectors"))

    def num_cut(self, index: int) -> int:
        """How many questions of a block were cut."""
        return int(self._read(index, "num_cut"))

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, index: int, name: str) -> npt.NDArray[Any]:
        file = self._file(index)
        try:
            # a zip archive: what is read is verified; of a damaged one np.load would not close it
            with file.open("rb") as handle, np.load(handle) as arrays:
                return np.asarray(arrays[name])
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            raise UserError(f"{file} is damaged; remove it and give the command again") from None

    def _file(self, index: int) -> Path:
        return self.folder / f"block-{index:06d}.npz"
