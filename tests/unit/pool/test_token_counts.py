"""``response_tokens`` where rows lack it: as many as the tokenizer makes, and nothing else."""

import pyarrow as pa
import pytest

from nt_lightning.pool import token_counts
from nt_lightning.pool.token_counts import fill_response_tokens
from tests.tiny import tiny_tokenizer


def rows(**columns):
    """Letters that no pair of the tokenizer's merges: a token for each."""
    texts = {"id": list("abcdef"), "reasoning": ["", "Z", "ZQ", "ZQX", "", "Z" * 5]}
    return pa.table({**texts, "answer": ["Q", "Q", "QX", "Q", "QXZ", "Q"], **columns})


@pytest.mark.parametrize("batch", [1, 4, 512])
def test_counts_by_hand(monkeypatch, batch):
    monkeypatch.setattr(token_counts, "ROWS_PER_BATCH", batch)
    table = pa.concat_tables([rows(score=[1.5] * 6), rows(score=[2.5] * 6)])
    filled = fill_response_tokens(table, tiny_tokenizer())
    assert filled.num_rows == 12
    assert filled.table["response_tokens"].to_pylist() == [1, 2, 4, 4, 3, 6] * 2
    assert filled.table["response_tokens"].type == pa.int64()
    assert filled.table.drop_columns(["response_tokens"]).equals(table)


def test_what_the_rows_say_stays():
    known = pa.array([0, None, 900, None, 7, None], pa.int64())
    table = rows(response_tokens=known, score=[1.0] * 6)
    filled = fill_response_tokens(table, tiny_tokenizer())
    assert filled.num_rows == 3
    assert filled.table["response_tokens"].to_pylist() == [0, 2, 900, 4, 7, 6]
    assert filled.table.column_names == table.column_names
    assert fill_response_tokens(filled.table, tiny_tokenizer()).num_rows == 0


def test_nothing_is_cut_padded_or_added():
    tokenizer = tiny_tokenizer()
    tokenizer(["a", "abc"], padding="max_length", truncation=True, max_length=3)
    assert fill_response_tokens(rows(), tokenizer).table["response_tokens"].to_pylist() == [
        1, 2, 4, 4, 3, 6
    ]  # fmt: skip


def test_a_tokenizer_in_python_counts_too():
    def by_words(texts, add_special_tokens):
        assert texts
        assert not add_special_tokens
        return {"input_ids": [text.split() for text in texts]}

    table = pa.table({"reasoning": ["one two", ""], "answer": ["three", "four five six"]})
    assert fill_response_tokens(table, by_words).table["response_tokens"].to_pylist() == [3, 3]
