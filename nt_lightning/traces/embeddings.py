"""Embeddings of a pool's questions: where they lie, and how they are written and read."""

from __future__ import annotations

import binascii
import hashlib
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_folder
from nt_lightning.traces.column_folders import read_info, verified_info, write_info
from nt_lightning.traces.pool import QUESTION_KEY, Pool

KEYS, VECTORS = "question_keys.npy", "embeddings.npy"
DTYPE = np.dtype(np.float16)
KEY_DIGITS = 16

Keys = npt.NDArray[np.uint64]
Vectors = npt.NDArray[np.float16]


class Part(NamedTuple):
    """Some of the vectors, in any order."""

    places: npt.NDArray[np.int64]  # rows of ``embeddings.npy``
    vectors: Vectors


class Embeddings(NamedTuple):
    """One vector of unit length for each question of a pool.

    Args:
        keys: uint64 [Q], ascending and distinct.
        vectors: float16 [Q, D], mapped from the disk; row i belongs to ``keys[i]``.
        info: What ``info.json`` holds: model, digests, versions.
    """

    keys: Keys
    vectors: Vectors
    info: dict[str, Any]

    def rows(self, question_keys: pa.ChunkedArray) -> Vectors:
        """Vectors float16 [N, D] of N traces, in memory.

        Args:
            question_keys: The traces' column ``question_key``.

        Raises:
            UserError: A question has no vector.
        """
        wanted = key_numbers(question_keys)
        places = np.searchsorted(self.keys, wanted)
        places[places == len(self.keys)] = 0
        missing = np.flatnonzero(self.keys[places] != wanted)
        if len(missing):
            raise UserError(
                f"{len(missing)} of {len(wanted)} traces have no embedding by "
                f"{self.info['model_name']!r}, first the one with question_key "
                f"{question_keys[int(missing[0])].as_py()}"
            )
        return np.asarray(self.vectors[places])


def key_numbers(question_keys: pa.ChunkedArray) -> Keys:
    """A column ``question_key`` (16 hex digits each) as numbers.

    Raises:
        ValueError: A key is something else.
    """
    chunks = [_chunk_numbers(chunk) for chunk in question_keys.chunks if len(chunk)]
    return np.concatenate(chunks) if chunks else np.empty(0, np.uint64)


def text_digest(question_keys: pa.ChunkedArray | Keys) -> str:
    """Digest of the distinct questions; their order, their number of traces and shards are free."""
    if not isinstance(question_keys, np.ndarray):
        question_keys = key_numbers(question_keys)
    ascending = np.sort(question_keys)  # np.unique alone takes ten times as long
    distinct = ascending[np.flatnonzero(np.diff(ascending, prepend=~ascending[:1]))]
    return hashlib.sha256(distinct.astype("<u8").tobytes()).hexdigest()


def embeddings_folder(pool: str | Path, key: str) -> Path:
    """Folder of embeddings in a pool's folder.

    Args:
        pool: Folder of the pool.
        key: Hex digest of all that the vectors depend on.
    """
    return Path(pool) / "columns" / f"embedding-{key}"


def embed_command(pool: str | Path, model_name: str) -> str:
    """The command that makes the embeddings."""
    given = shlex.join(["--pool", str(pool), "--model_name", model_name])
    return f"python -m nt_lightning pool embed {given}"


def find_embeddings(pool: Pool, model_name: str) -> Embeddings:
    """Embeddings of exactly the questions of a pool, the newest by a model.

    Args:
        pool: The pool.
        model_name: The name that ``pool embed`` was given.

    Raises:
        UserError: There are none, or a byte of them is not what was written.
    """
    texts = text_digest(pool.read([QUESTION_KEY])[QUESTION_KEY])
    there = [
        (read_info(folder), folder) for folder in sorted(pool.folder.glob("columns/embedding-*"))
    ]
    mine = [
        (info["created"], folder)
        for info, folder in there
        if (info["model_name"], info["text_digest"]) == (model_name, texts)
    ]
    if mine:
        return open_embeddings(max(mine)[1])
    found = [
        repr(info["model_name"]) + ("" if info["text_digest"] == texts else " (of other questions)")
        for info, _ in there
    ]
    raise UserError(
        f"{pool.folder} has no embeddings of its questions by {model_name!r}; it has: "
        f"{', '.join(found) or 'none'}. Make them with\n{embed_command(pool.folder, model_name)}"
    )


def open_embeddings(folder: Path) -> Embeddings:
    """Embeddings in a folder, every byte verified.

    Raises:
        UserError: A file is missing, or a byte is not what was written.
    """
    info = verified_info(folder)
    return Embeddings(np.load(folder / KEYS), np.load(folder / VECTORS, mmap_mode="r"), info)


def write_embeddings(
    folder: Path, keys: Keys, dimensions: int, parts: Iterable[Part], info: Mapping[str, Any]
) -> None:
    """Write embeddings, whole or not at all; one part at a time is in memory.

    Args:
        folder: Where they go; older ones there are replaced.
        keys: uint64 [Q], ascending and distinct.
        dimensions: D of the vectors.
        parts: The vectors of all questions.
        info: At least ``model_name`` and ``text_digest``, as plain JSON.
    """
    with replacing_folder(folder) as partial:
        np.save(partial / KEYS, keys)
        vectors = np.lib.format.open_memmap(
            partial / VECTORS, mode="w+", dtype=DTYPE, shape=(len(keys), dimensions)
        )
        for part in parts:
            vectors[part.places] = part.vectors
        vectors.flush()
        del vectors
        shape = {"num_questions": len(keys), "dimensions": dimensions, "dtype": DTYPE.name}
        write_info(partial, (KEYS, VECTORS), {**info, **shape})


def _chunk_numbers(chunk: pa.Array) -> Keys:
    chunk = chunk.cast(pa.large_string())
    lengths = pc.min_max(pc.binary_length(chunk)).as_py()
    if chunk.null_count or lengths != {"min": KEY_DIGITS, "max": KEY_DIGITS}:
        raise ValueError(f"a question_key is not of {KEY_DIGITS} hex digits")
    _, offsets, letters = chunk.buffers()
    first = int(np.frombuffer(offsets, np.int64)[chunk.offset])
    text = memoryview(letters)[first : first + KEY_DIGITS * len(chunk)]
    return np.frombuffer(binascii.unhexlify(text), ">u8").astype(np.uint64)
