"""``pool dedup``: what stays, what goes, and how it is listed."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.__main__ import main
from nt_lightning.pool import commands
from nt_lightning.pool.commands.dedup_pool import dedup_pool
from nt_lightning.pool.dedup import Duplicate, Link, find_duplicates
from nt_lightning.traces.pool import Pool, write_pool

HENS = (
    "A farmer has 12 hens that lay {} eggs each on every day of the week. How many eggs are there?"
)
QUESTIONS = [
    HENS.format(3),
    "What is the capital of France?",
    HENS.format(4),  # like the first
    "what is  the CAPITAL of France",  # like the second
    "Name a prime between 20 and 30.",
    "What is 3 + 4?",
    "What is 3 - 4?",
]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(commands.COMMANDS, "dedup", dedup_pool)


@pytest.fixture
def questions(tmp_path):
    ids = [f"q{number}" for number in range(len(QUESTIONS))]
    table = pa.table({"id": ids, "question": QUESTIONS, "extra": list(range(len(ids)))})
    write_pool(table, tmp_path / "in", {"made_by": "tests"}, kind="questions")
    return tmp_path / "in"


@pytest.fixture
def traces(tmp_path):
    """Two teachers for each question, the second one's traces behind all of the first's."""
    rows = [
        {
            "id": f"{teacher}-{n}",
            "question": text,
            "teacher": teacher,
            "reasoning": "",
            "answer": "a",
        }
        for teacher in ("one", "two")
        for n, text in enumerate(QUESTIONS)
    ]
    write_pool(pa.Table.from_pylist(rows), tmp_path / "in", {}, rows_per_shard=3)
    return tmp_path / "in"


def dedup(*arguments):
    return main(["pool", "dedup", *map(str, arguments)])


def listed(folder):
    lines = (folder / "dedup" / "removed.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_first_of_a_cluster_stays(questions, tmp_path, capsys):
    out = tmp_path / "out"
    assert dedup("--pool", questions, "--output", out) == 0
    written = Pool(out, "questions")
    assert written.kind == "questions"
    assert written.read()["id"].to_pylist() == ["q0", "q1", "q4", "q5", "q6"]
    assert written.read()["extra"].to_pylist() == [0, 1, 4, 5, 6]
    assert [row["id"] for row in listed(out)] == ["q2", "q3"]
    assert capsys.readouterr().out == (
        f"{out}: 5 of 7 questions kept; the others are listed in dedup/removed.jsonl\n"
    )


def test_what_goes_is_listed_with_what_stays(questions, tmp_path):
    dedup("--pool", questions, "--output", tmp_path / "out")
    assert listed(tmp_path / "out")[0] == {
        "id": "q2",
        "question": HENS.format(4),
        "kept_id": "q0",
        "kept_question": HENS.format(3),
        "similarity": 0.8182,  # 18 of 22 pairs of words
        "linked_id": "q0",
        "linked_similarity": 0.8182,
    }


def test_lineage(questions, tmp_path):
    dedup("--pool", questions, "--output", tmp_path / "out", "--threshold", "0.6")
    lineage = Pool(tmp_path / "out", "questions").manifest["lineage"]
    source = Pool(questions, "questions")
    assert lineage.pop("rensa")
    assert lineage.pop("config_digest")
    assert lineage == {
        "command": "pool dedup",
        "threshold": 0.6,
        "ngram": 2,
        "bands": {"number": 64, "width": 4},
        "rows_in": 7,
        "rows_out": 5,
        "dropped": {"near-duplicate": 2},
        "questions_in": 7,
        "questions_removed": 2,
        "clusters": 2,
        "from": {
            "pool": str(questions.resolve()),
            "digest": source.digest,
            "num_rows": 7,
            "lineage": {"made_by": "tests"},
        },
    }


def test_rows_of_one_question_are_duplicates_in_a_pool_of_questions(tmp_path, capsys):
    texts = ["What is 17 * 23?", "Why?", "What is 17 * 23?", "What is 17  * 23?", "Why not so?"]
    ids = [f"q{n}" for n in range(5)]
    for rows_per_shard in (1, 100):
        table = pa.table({"id": ids, "question": texts})
        write_pool(table, tmp_path / "in", {}, kind="questions", rows_per_shard=rows_per_shard)
        out = tmp_path / f"out-{rows_per_shard}"
        assert dedup("--pool", tmp_path / "in", "--output", out) == 0
        assert Pool(out, "questions").read()["id"].to_pylist() == ["q0", "q1", "q4"]
        rows = {row["id"]: row for row in listed(out)}
        assert rows.keys() == {"q2", "q3"}
        assert rows["q2"] == {
            "id": "q2",
            "question": texts[0],
            "kept_id": "q0",
            "kept_question": texts[0],
            "similarity": 1.0,
            "linked_id": "q0",
            "linked_similarity": 1.0,
        }
        assert "3 of 5 questions kept" in capsys.readouterr().out
        lineage = Pool(out, "questions").manifest["lineage"]
        assert lineage["dropped"] == {"near-duplicate": 1, "question of an earlier row": 1}


def test_traces_of_one_question_stay_or_go_together(traces, tmp_path, capsys):
    out = tmp_path / "out"
    assert dedup("--pool", traces, "--output", out) == 0
    kept = [f"{teacher}-{n}" for teacher in ("one", "two") for n in (0, 1, 4, 5, 6)]
    assert Pool(out).read()["id"].to_pylist() == kept
    removed = listed(out)
    assert [row["id"] for row in removed] == ["one-2", "one-3", "two-2", "two-3"]
    assert [row["kept_id"] for row in removed] == ["one-0", "one-1"] * 2
    assert " 10 of 14 traces, 5 of 7 questions kept" in capsys.readouterr().out


def test_shards_change_nothing(traces, tmp_path):
    write_pool(Pool(traces).read(), tmp_path / "whole", {}, rows_per_shard=100)
    for name in ("in", "whole"):
        dedup("--pool", tmp_path / name, "--output", tmp_path / f"out-{name}")
    digests = {Pool(tmp_path / f"out-{name}").digest for name in ("in", "whole")}
    assert len(digests) == 1
    assert listed(tmp_path / "out-in") == listed(tmp_path / "out-whole")


def test_without_duplicates_the_rows_are_the_same(questions, tmp_path):
    dedup("--pool", questions, "--output", tmp_path / "out", "--threshold", "1")
    assert [row["id"] for row in listed(tmp_path / "out")] == ["q3"]
    dedup("--pool", tmp_path / "out", "--output", tmp_path / "again", "--threshold", "1")
    assert listed(tmp_path / "again") == []
    assert (
        Pool(tmp_path / "again", "questions").digest == Pool(tmp_path / "out", "questions").digest
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "0"], "threshold is 0.0; allowed: above 0, at most 1"),
        (["--threshold", "1.1"], "threshold is 1.1"),
        (["--ngram", "0"], "ngram is 0; allowed: 1 or more words"),
    ],
)
def test_settings_out_of_range(questions, tmp_path, capsys, options, said):
    assert dedup("--pool", questions, "--output", tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unasked(questions, tmp_path, capsys):
    assert dedup("--pool", questions, "--output", questions) == 2
    assert "is the pool that is read" in capsys.readouterr().err
    dedup("--pool", questions, "--output", tmp_path / "out")
    assert dedup("--pool", questions, "--output", tmp_path / "out") == 2
    assert "--overwrite true" in capsys.readouterr().err
    assert dedup("--pool", questions, "--output", tmp_path / "out", "--overwrite", "true") == 0


def test_a_chain_goes_to_its_first_link():
    links = [Link(3, 5, 0.6), Link(1, 3, 0.7), Link(0, 2, 0.9), Link(5, 6, 0.8)]
    assert find_duplicates(links) == [
        Duplicate(2, 0, 0, 0.9),
        Duplicate(3, 1, 1, 0.7),
        Duplicate(5, 1, 3, 0.6),
        Duplicate(6, 1, 5, 0.8),
    ]


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda x: x[0] != x[1])))
def test_clusters_are_connected_components(pairs):
    reached = {number: {number} for number in range(16)}
    for one, other in pairs:
        both = reached[one] | reached[other]
        for number in both:
            reached[number] = both
    found = {one.question: one for one in find_duplicates([Link(*pair, 0.6) for pair in pairs])}
    for number in range(16):
        first = min(reached[number])
        assert (number in found) == (number != first)
        if number != first:
            assert found[number].kept == first
            assert {number, found[number].linked} in map(set, pairs)
