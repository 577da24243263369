"""Pools on disk: what is written is read, damage is found, a crash leaves the old pool."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning import __version__, files
from nt_lightning.errors import UserError
from nt_lightning.traces import pool as pools
from nt_lightning.traces.pool import Pool, take_rows, write_pool


def rows(count=5, **columns):
    text = [f"{n}" for n in range(count)]
    fixed = {"id": text, "question": [f"Q{n // 2}" for n in range(count)]}
    fixed |= {"teacher": ["t"] * count, "reasoning": text, "answer": text}
    return pa.table({**fixed, **columns})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pool"


def test_round_trip_over_several_shards(folder):
    table = rows(5, score=[0.5, None, 1.0, 2.0, 3.0], verbosity=[1, 2, None, 4, 5])
    pool = write_pool(table, folder, {"made_by": "a test"}, rows_per_shard=2)
    again = Pool(folder)
    read = again.read().sort_by("id")
    assert read.drop_columns(["question_key"]).to_pylist() == table.sort_by("id").to_pylist()
    assert len(again) == len(pool) == 5
    assert again.read(["score", "id"]).column_names == ["score", "id"]
    shards = [(first, part["id"].to_pylist()) for first, part in again.shards(["id"])]
    assert shards == [(0, ["0", "1"]), (2, ["2", "3"]), (4, ["4"])]


def test_manifest(folder):
    write_pool(rows(5), folder, {"made_by": "a test", "number": {1: 2.5}}, rows_per_shard=3)
    manifest = json.loads((folder / "manifest.json").read_text())
    shards = manifest.pop("shards")
    assert len(manifest.pop("digest")) == len(manifest.pop("checksum")) == 64
    assert manifest == {
        "schema_version": 2,
        "kind": "traces",
        "nt_lightning": __version__,
        "num_rows": 5,
        "num_questions": 3,
        "columns": ["id", "question", "teacher", "reasoning", "answer", "question_key"],
        "lineage": {"made_by": "a test", "number": {"1": 2.5}},
    }
    assert [shard["num_rows"] for shard in shards] == [3, 2]
    for shard in shards:
        assert files.sha256_file(folder / shard["file"]) == shard["sha256"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "traces-00000-of-00002.parquet",
        "traces-00001-of-00002.parquet",
    ]


def test_the_digest_is_of_the_rows_alone(folder, tmp_path):
    first = write_pool(rows(5), folder, {"by": "one"}).digest
    assert write_pool(rows(5), tmp_path / "other", {"by": "two"}).digest == first
    assert write_pool(rows(4), tmp_path / "other", {"by": "two"}).digest != first


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [0, 2, 4, 0, 1], [6, 1]])
def test_several_tables_are_one_pool(folder, tmp_path, sizes):
    """Shards of three rows whatever the tables are, the same bytes, the same digest."""
    table = rows(7, score=[n / 2 for n in range(7)], topic=[None, "a", "b", None, "c", "d", None])
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    parts = (table.slice(start, size) for start, size in zip(starts, sizes, strict=True))
    pool = write_pool(parts, folder, {"made_by": "a test"}, rows_per_shard=3)
    whole = write_pool(table, tmp_path / "whole", {"made_by": "a test"}, rows_per_shard=3)
    assert [shard["num_rows"] for shard in pool.manifest["shards"]] == [3, 3, 1]
    assert pool.digest == whole.digest
    assert pool.manifest == whole.manifest
    assert (
        pool.read().drop_columns(["question_key"]).sort_by("id").to_pylist()
        == table.select(
            ["id", "question", "teacher", "reasoning", "answer", "topic", "score"]
        ).to_pylist()
    )


def test_an_id_in_two_tables_is_refused(folder):
    parts = iter([rows(2, id=["a", "b"]), rows(3, id=["c", "d", "a"])])
    with pytest.raises(UserError, match="row 4: column 'id': 'a' appears twice"):
        write_pool(parts, folder, {}, rows_per_shard=2)
    assert list(folder.parent.iterdir()) == []


def test_no_table_is_no_pool(folder):
    with pytest.raises(UserError, match="the pool is empty"):
        write_pool(iter([]), folder, {})
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (rows(0), "the pool is empty"),
        (rows(3).drop_columns("teacher"), "column 'teacher' is missing; needed: id, question"),
        (rows(3, id=["a", "b", "a"]), "row 2: column 'id': 'a' appears twice"),
        (rows(3, id=[1, 2, 3]), "column 'id' is int64, not string"),
        (rows(3, reasoning=["", None, ""]), "row 1: column 'reasoning': is null"),
        (rows(3, answer=["A", " \n", "\t"]), r"row 1: column 'answer': is empty \(and 1 more\)"),
        (rows(3, answer=["A", "A", "x</think>"]), "row 2: column 'answer': holds the tag </think>"),
        (rows(2, verbosity=[0, 11]), "row 1: column 'verbosity': is outside 0..10"),
        (rows(2, verbosity=[-1, 10]), "row 0: column 'verbosity': is outside 0..10"),
        (rows(2, verbosity=["1", "2"]), "column 'verbosity' is string, not int64"),
        (rows(2, num_steps=[3, -1]), "row 1: column 'num_steps': is negative"),
        (rows(2, meta=pa.array([{}, {}], pa.struct([]))), "cannot be written as Parquet"),
    ],
)
def test_refused_rows_leave_nothing(folder, table, problem):
    with pytest.raises(UserError, match=problem):
        write_pool(table, folder, {})
    assert list(folder.parent.iterdir()) == []


ALL = "id, question, teacher, reasoning, answer, question_key"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "response_tokens",
            "`python -m nt_lightning pool import --tokenizer MODEL` writes it; the pool has: ",
        ),
        (
            "source",
            "`python -m nt_lightning pool import` takes it from the rows of a file; the pool has: ",
        ),
        (
            "domain",
            "`python -m nt_lightning pool annotate` writes it; the pool has: ",
        ),
        ("score", "it has: "),
    ],
)
def test_a_missing_column_is_named_and_where_it_comes_from(folder, name, said):
    pool = write_pool(rows(3), folder, {})
    for read in (pool.read, lambda names: list(pool.shards(names))):
        with pytest.raises(UserError) as refused:
            read(["id", name])
        assert str(refused.value) == f"{folder}: column {name!r} is missing; {said}{ALL}"


def test_every_flipped_bit_is_found(folder):
    table = rows(400, reasoning=[f"I add {n} and {n * n % 97}." for n in range(400)])
    write_pool(table, folder, {"made_by": "a test"}, rows_per_shard=150)
    chance = random.Random(0)
    names = sorted(path.name for path in folder.iterdir())
    for number in range(40):
        path = folder / names[number % len(names)]
        before = path.read_bytes()
        damaged = bytearray(before)
        damaged[chance.randrange(len(before))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is damaged|schema_version|is missing"):
            Pool(folder)
        path.write_bytes(before)
    assert len(Pool(folder)) == 400


def test_what_is_no_pool(folder):
    with pytest.raises(UserError, match=r"is no pool: it has no manifest\.json"):
        Pool(folder)
    write_pool(rows(5), folder, {}, rows_per_shard=3)
    (folder / "traces-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="shard traces-00001-of-00002.parquet is missing"):
        Pool(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 3}))
    with pytest.raises(UserError, match="schema_version is 3, this version reads 2"):
        Pool(folder)


class CrashError(Exception):
    pass


@pytest.mark.parametrize("shards_written", [0, 1, 2])
def test_a_crash_while_writing_leaves_the_old_pool(folder, monkeypatch, shards_written):
    old = write_pool(rows(3), folder, {}).digest
    write, done = pq.write_table, []

    def crash(*args, **kwargs):
        if len(done) == shards_written:
            raise CrashError
        write(*args, **kwargs)
        done.append(args)

    monkeypatch.setattr(pools.pq, "write_table", crash)
    with pytest.raises(CrashError):
        write_pool(rows(6), folder, {}, rows_per_shard=2)
    assert Pool(folder).digest == old
    assert [path.name for path in folder.parent.iterdir()] == ["pool"]
    monkeypatch.undo()
    assert len(write_pool(rows(6), folder, {})) == 6


def test_rows_are_taken_batch_by_batch(monkeypatch):
    monkeypatch.setattr(pools, "ROWS_AT_A_TIME", 4)
    parts = [pa.table({"a": list(range(start, start + 5))}) for start in (0, 5, 10)]
    table = pa.concat_tables(parts)
    for rows in ([], [0], [3, 4, 5, 14], list(range(15))):
        taken = take_rows(table, np.array(rows, dtype=np.int64))
        assert taken["a"].to_pylist() == rows
        assert taken.schema == table.schema


def test_questions_alone(folder):
    """They need an id and a text, and are refused where traces are wanted."""
    table = pa.table({"id": ["a", "b"], "question": ["1 + 1?", "1 + 2?"]})
    pool = write_pool(table, folder, {}, kind="questions")
    assert (pool.kind, len(pool)) == ("questions", 2)
    assert Pool(folder, "questions").read(["question"]).num_rows == 2
    with pytest.raises(UserError, match="holds questions without traces; .*pool generate"):
        Pool(folder)
    with pytest.raises(UserError, match="column 'question': is empty"):
        write_pool(table.set_column(1, "question", [["", "x"]]), folder, {}, kind="questions")


def test_extra_files_and_a_late_lineage(folder):
    """Both are whole when the pool appears; the lineage may count what has been written."""
    seen: list[bool] = []

    def extras(part):
        seen.append(folder.exists())
        (part / "report.txt").write_text("two rows")

    counted: list[int] = []
    tables = (counted.append(1) or table for table in (rows(3),))
    pool = write_pool(tables, folder, lambda: {"tables": len(counted)}, extras=extras)
    assert seen == [False]
    assert (folder / "report.txt").read_text() == "two rows"
    assert pool.manifest["lineage"] == {"tables": 1}
