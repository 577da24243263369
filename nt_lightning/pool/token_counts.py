"""How long responses are in a tokenizer's tokens, where the rows do not say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLUMN = "response_tokens"
ROWS_PER_BATCH = 512


class Filled(NamedTuple):
    """Rows with ``response_tokens`` in each of them, and how many were counted for it."""

    table: pa.Table
    num_rows: int


def fill_response_tokens(table: pa.Table, tokenizer: PreTrainedTokenizerBase) -> Filled:
    """Count the tokens of reasoning and answer where ``response_tokens`` is null or no column.

    The two are tokenised apart, without think tags or other special tokens (our choice).

    Args:
        table: Conformed rows.
        tokenizer: Of a student or of the teacher.
    """
    if COLUMN not in table.column_names:
        table = table.append_column(COLUMN, pa.nulls(table.num_rows, pa.int64()))
    unknown = table[COLUMN].null_count
    filled = []
    with tqdm(total=unknown, desc="counting tokens", delay=3, disable=None) as bar:
        texts = table.select(["reasoning", "answer", COLUMN])
        for batch in texts.to_batches(max_chunksize=ROWS_PER_BATCH):
            mask = pc.is_null(batch[COLUMN])
            left = batch.filter(mask)
            counts = _num_tokens(left["reasoning"].to_pylist(), tokenizer)
            counts += _num_tokens(left["answer"].to_pylist(), tokenizer)
            filled.append(pc.replace_with_mask(batch[COLUMN], mask, pa.array(counts)))
            bar.update(left.num_rows)
    place = table.column_names.index(COLUMN)
    return Filled(table.set_column(place, COLUMN, pa.chunked_array(filled, pa.int64())), unknown)


def _num_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> npt.NDArray[np.int64]:
    """Tokens of each text, which nothing is added to or cut from."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not texts:  # there are models with a tokenizer in Python alone
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    else:
        backend.no_truncation()
        backend.no_padding()
        encoded = backend.encode_batch_fast(texts, add_special_tokens=False)
    return np.array([len(ids) for ids in encoded], dtype=np.int64)
