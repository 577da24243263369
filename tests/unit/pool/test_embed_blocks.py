"""Blocks of questions: each question once, in the pool's order, and files that are whole."""

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.pool import embed_blocks
from nt_lightning.pool.embed_blocks import BlockFiles, BlockReader, Questions
from nt_lightning.traces.pool import QUESTION_KEY, write_pool


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(embed_blocks, "BLOCK_SIZE", 8)


def test_blocks_hold_every_question_once_in_the_order_of_the_pool(tmp_path, small_blocks):
    questions = [f"{n * n % 31}" for n in range(100)]
    rows = {
        "id": [f"id-{n}" for n in range(100)],
        "question": questions,
        "teacher": ["t"] * 100,
        "reasoning": [""] * 100,
        "answer": ["A"] * 100,
    }
    pool = write_pool(pa.table(rows), tmp_path / "pool", {}, rows_per_shard=7)
    found = Questions.of(pool)
    blocks = list(BlockReader(pool, found, range(found.num_blocks)))
    distinct = list(dict.fromkeys(questions))
    assert [len(block.questions) for block in blocks] == [8, 8]
    assert [question for block in blocks for question in block.questions] == distinct
    assert [row for block in blocks for row in block.ids] == [
        f"id-{questions.index(question)}" for question in distinct
    ]
    keys = pool.read([QUESTION_KEY])[QUESTION_KEY].to_pylist()
    first = [keys[questions.index(question)] for question in distinct]
    assert [f"{key:016x}" for key in found.keys[found.places]] == first
    (last,) = BlockReader(pool, found, [1])
    assert last == blocks[1]


def test_a_block_is_read_as_it_was_written_or_refused(tmp_path):
    files = BlockFiles(tmp_path / "work")
    vectors = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert files.missing(3) == [0, 1, 2]
    files.write(1, vectors, 5)
    assert files.missing(3) == [0, 2]
    assert files.vectors(1).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert files.vectors(1).dtype == np.float16
    assert files.num_cut(1) == 5
    (file,) = files.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"block-000001\.npz is damaged; remove it"):
        files.vectors(1)
    files.remove()
    assert not files.folder.exists()
    assert files.missing(2) == [0, 1]


def test_blocks_of_another_pool_lie_elsewhere(tmp_path):
    rows = {name: ["a", "b"] for name in ("id", "question", "teacher", "reasoning", "answer")}
    one = write_pool(pa.table(rows), tmp_path / "one", {})
    two = write_pool(pa.table(rows).take(pa.array([1, 0])), tmp_path / "two", {})
    folder = tmp_path / "embedding-1"
    assert BlockFiles.beside(folder, one).folder == BlockFiles.beside(folder, one).folder
    assert BlockFiles.beside(folder, one).folder != BlockFiles.beside(folder, two).folder
    assert BlockFiles.beside(folder, one).folder.parent == tmp_path
