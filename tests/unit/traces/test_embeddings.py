"""Embeddings on disk: found by model and questions, every byte verified."""

import hashlib
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.embeddings import (
    Part,
    embeddings_folder,
    find_embeddings,
    key_numbers,
    open_embeddings,
    text_digest,
    write_embeddings,
)
from nt_lightning.traces.pool import QUESTION_KEY, write_pool

MODEL = "some/model"


def make_pool(folder, questions, rows_per_shard=50_000):
    columns = {
        "id": [f"{n}" for n in range(len(questions))],
        "question": questions,
        "teacher": ["t"] * len(questions),
        "reasoning": [""] * len(questions),
        "answer": ["A"] * len(questions),
    }
    return write_pool(pa.table(columns), folder, {}, rows_per_shard)


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path / "pool", ["b", "a", "c", "a"])


def vector_of(key):
    return np.float16([key % 97, key % 89])


def embed(pool, key="0123", model_name=MODEL):
    """Vectors that tell their question; written in two parts, the later places first."""
    keys = np.unique(key_numbers(pool.read([QUESTION_KEY])[QUESTION_KEY]))
    vectors = np.stack([vector_of(int(key)) for key in keys])
    parts = [Part(np.arange(1, len(keys)), vectors[1:]), Part(np.array([0]), vectors[:1])]
    info = {"model_name": model_name, "text_digest": text_digest(keys)}
    folder = embeddings_folder(pool.folder, key)
    write_embeddings(folder, keys, 2, iter(parts), info)
    return folder


def test_every_trace_gets_its_questions_vector(pool):
    folder = embed(pool)
    assert folder == pool.folder / "columns" / "embedding-0123"
    found = find_embeddings(pool, MODEL)
    assert isinstance(found.vectors, np.memmap)
    assert found.vectors.dtype == np.float16
    assert (found.info["num_questions"], found.info["dimensions"]) == (3, 2)
    column = pool.read([QUESTION_KEY])[QUESTION_KEY]
    expected = [vector_of(int(text, 16)) for text in column.to_pylist()]
    np.testing.assert_array_equal(found.rows(column), expected)
    np.testing.assert_array_equal(found.rows(column.slice(2)), expected[2:])
    assert found.rows(column.slice(0, 0)).shape == (0, 2)


def test_a_question_without_a_vector_is_named(pool, tmp_path):
    embed(pool)
    found = find_embeddings(pool, MODEL)
    other = make_pool(tmp_path / "other", ["a", "z", "y"]).read([QUESTION_KEY])[QUESTION_KEY]
    with pytest.raises(UserError, match=f"2 of 3 traces .* 'some/model'.* {other[1].as_py()}"):
        found.rows(other)


def test_keys_are_numbers():
    column = pa.chunked_array([["00000000000000ff"], [], ["ffffffffffffffff", "8" + "0" * 15]])
    assert key_numbers(column).tolist() == [255, 2**64 - 1, 2**63]
    assert key_numbers(column.slice(1, 1)).tolist() == [2**64 - 1]
    assert key_numbers(pa.chunked_array([], pa.string())).tolist() == []
    for bad in (["ff"], [None], ["x" * 16], ["00000000000000ff0", "00000000000000f"]):
        with pytest.raises(ValueError, match="hex|Non-hex"):
            key_numbers(pa.chunked_array([bad], pa.string()))


def test_the_digest_is_of_the_questions_alone(tmp_path):
    pools = [
        make_pool(tmp_path / "1", ["a", "b", "c"]),
        make_pool(tmp_path / "2", ["c", "a", "c", "b", "a"], rows_per_shard=2),
        make_pool(tmp_path / "3", ["a", "b"]),
    ]
    first, again, fewer = [text_digest(pool.read([QUESTION_KEY])[QUESTION_KEY]) for pool in pools]
    assert first == again != fewer
    numbers = sorted(
        int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        for text in (b"a", b"b", b"c")
    )
    assert first == hashlib.sha256(np.array(numbers, "<u8").tobytes()).hexdigest()


def test_embeddings_are_found_in_a_pool_of_another_order(pool, tmp_path):
    embed(pool)
    again = make_pool(tmp_path / "again", ["c", "b", "a"], rows_per_shard=1)
    shutil.copytree(pool.folder / "columns", again.folder / "columns")
    keys = again.read([QUESTION_KEY])[QUESTION_KEY]
    rows = find_embeddings(again, MODEL).rows(keys)
    np.testing.assert_array_equal(rows, [vector_of(int(key, 16)) for key in keys.to_pylist()])


def test_the_newest_of_a_model(pool):
    embed(pool, "ffff")
    newer = embed(pool, "0000")
    embed(pool, "5555", "another/model")
    os.utime(newer / "info.json", (0, 0))  # a copy's dates say nothing
    assert find_embeddings(pool, MODEL).info == open_embeddings(newer).info


def test_none_for_the_model_or_the_questions(pool, tmp_path):
    command = f"python -m nt_lightning pool embed --pool {pool.folder} --model_name some/model"
    with pytest.raises(UserError, match=f"by 'some/model'; it has: none. .*\n{command}$"):
        find_embeddings(pool, MODEL)
    embed(pool, "1", "another/model")
    other = make_pool(tmp_path / "other", ["a"])
    folder = embed(other, "2")
    shutil.copytree(folder, pool.folder / "columns" / folder.name)
    there = r"it has: 'another/model', 'some/model' \(of other questions\). Make them"
    with pytest.raises(UserError, match=there):
        find_embeddings(pool, MODEL)


@pytest.mark.parametrize("name", ["info.json", "question_keys.npy", "embeddings.npy"])
def test_a_flipped_byte_is_found(pool, name):
    file = embed(pool) / name
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged: its "):
        find_embeddings(pool, MODEL)


@pytest.mark.parametrize("name", ["info.json", "question_keys.npy", "embeddings.npy"])
def test_a_missing_file_is_found(pool, name):
    (embed(pool) / name).unlink()
    with pytest.raises(UserError, match=f"{name} is damaged"):
        find_embeddings(pool, MODEL)
