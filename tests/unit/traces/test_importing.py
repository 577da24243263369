"""Rows of a source to rows of a pool: what is left out and why, and how much memory it takes."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces import importing
from nt_lightning.traces.importing import NO_BLOCK, Rows
from nt_lightning.traces.pool import write_pool
from nt_lightning.traces.sources import open_source

THOUGHT = "<think>R</think>A"


def reply(response, teacher="r1", **columns):
    return {"question": "Q", "response": response, "teacher": teacher, **columns}


@pytest.fixture(params=[1, 1000])
def read(tmp_path, request, monkeypatch):
    """Rows of a file, in chunks of one row and in one chunk, and what was left out."""
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", request.param)

    def read(*rows, **options):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read.last = Rows(open_source(str(path)), folder=tmp_path, **options)
        read.last.quarantine.write(tmp_path / "out.jsonl")
        return [row for table in read.last.tables() for row in table.to_pylist()]

    def left_out():
        path = tmp_path / "out.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    read.left_out = left_out
    return read


def test_a_reply_that_does_not_think_among_those_that_do(read):
    rows = read(
        reply("So it is", id="a"),
        reply(THOUGHT),
        reply("4", "qwen"),
        reply("<think>\n\n</think>4"),
        reply("5", "qwen"),
    )
    assert [row["id"] for row in rows] == ["in-1", "in-2", "in-3", "in-4"]
    assert read.last.quarantine.counts == {NO_BLOCK: 1}
    assert len(read.last) == 4
    (left_out,) = read.left_out()
    assert (left_out["row"], left_out["id"], left_out["reason"]) == (0, "a", NO_BLOCK)
    assert json.loads(left_out["text"])["response"] == "So it is"


def test_half_is_not_most(read):
    assert len(read(reply(THOUGHT), reply("A"))) == 2
    assert read.left_out() == []


def test_a_column_that_says_there_is_no_reasoning_is_believed(read):
    own = {"question": "Q", "teacher": "r1", "answer": "A"}
    assert (
        len(read(own | {"reasoning": "R"}, own | {"reasoning": "R"}, own | {"reasoning": ""})) == 3
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (reply(THOUGHT, finish_reason="length"), "the reply was cut off at its longest"),
        (reply(THOUGHT, finish_reason="MAX_TOKENS"), "the reply was cut off at its longest"),
        (reply(THOUGHT, stop_reason="max_tokens"), "the reply was cut off at its longest"),
        (reply("<think>R"), "thinking is never closed"),
        (reply("think\nR"), "thinking is never closed"),
        (reply("Sure! <think>R</think>A"), "reasoning and answer cannot be told apart"),
        (reply("<think>R</think>A</think>"), "reasoning and answer cannot be told apart"),
        (reply("<think>R</think>Use <think>"), "reasoning and answer cannot be told apart"),
        (
            reply("[THINK]Is it </think>?[/THINK]A"),
            "a think tag stands inside the reasoning or the answer",
        ),
        (
            {"question": "Q", "teacher": "t", "reasoning": "R", "answer": "a <think>"},
            "a think tag stands inside the reasoning or the answer",
        ),
        (reply("<|begin_of_thought|>R<|end_of_thought|>A"), "the answer has no end"),
        (reply(" "), "the reply is empty"),
        (reply(None), "the reply is empty"),
        (reply(None, reasoning="R"), "there is reasoning and no answer"),
        (
            {
                "teacher": "t",
                "messages": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": None, "reasoning_content": "R"},
                ],
            },
            "there is reasoning and no answer",
        ),
        (
            {
                "teacher": "t",
                "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": None}],
            },
            "the reply is empty",
        ),
        (reply("<think>R</think> "), "there is reasoning and no answer"),
        (
            {"question": "Q", "teacher": "t", "reasoning": "R", "answer": ""},
            "there is reasoning and no answer",
        ),
    ],
)
def test_what_lies_in_a_sets_nature(read, row, reason):
    rows = read(reply(THOUGHT, stop_reason="end_turn"), row, reply(THOUGHT, finish_reason="stop"))
    assert [row["id"] for row in rows] == ["in-0", "in-2"]
    assert [row["finish_reason"] for row in rows] == ["end_turn", "stop"]
    assert read.last.quarantine.counts == {reason: 1}
    assert [entry["row"] for entry in read.left_out()] == [1]


def test_texts_of_drops_are_cut_and_those_of_mistakes_are_not(read):
    rows = [reply("<think>" + "a" * 5000), reply(5, note="a" * 5000), reply(THOUGHT)]
    assert len(read(*rows, on_bad_row="skip")) == 1
    dropped, mistaken = read.left_out()
    assert len(dropped["text"]) == 2000
    assert json.loads(mistaken["text"]) == rows[1]


def test_an_id_that_stands_twice(read):
    rows = [reply("A", id="a"), reply("B", id="b"), reply("C", id="a")]
    with pytest.raises(
        UserError, match=r"row 2 \(counted from 0\): column 'id': 'a' appears twice"
    ):
        read(*rows)
    assert [row["answer"] for row in read(*rows, on_bad_row="skip")] == ["A", "B"]


def test_a_list_stays_until_what_it_is_about_is_replaced(read, tmp_path):
    read(reply(THOUGHT), reply(" "))
    before = read.left_out()

    def fail():
        raise RuntimeError

    for rows in ([reply(THOUGHT), reply(" "), reply(" ")], [reply(THOUGHT)]):
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        again = Rows(open_source(str(tmp_path / "in.jsonl")))
        with pytest.raises(RuntimeError), again.quarantine.writing(tmp_path / "out.jsonl"):
            fail()
        assert read.left_out() == before
    with again.quarantine.writing(tmp_path / "out.jsonl"):
        assert read.left_out() == before
    assert read.left_out() == []


def test_questions_and_traces_do_not_mix(read):
    question = {"question": "Q", "reference_answer": "4"}
    assert [row["id"] for row in read(question, question)] == ["in-0", "in-1"]
    assert read.last.kind == "questions"
    for rows, kinds in (([question, reply("A")], "traces"), ([reply("A"), question], "questions")):
        with pytest.raises(UserError) as refused:
            read(*rows, on_bad_row="skip")
        assert f"row 1 (counted from 0): its columns are those of {kinds}" in str(refused.value)
    assert len(read(reply("A"), question, format="response", on_bad_row="skip")) == 1
    (left_out,) = read.left_out()
    assert "column 'response': is missing; the format response" in left_out["reason"]
    with pytest.raises(UserError, match="column 'teacher': a question without a trace has none"):
        read(reply("A"), format="questions")


def test_columns_that_come_late_or_change_their_numbers(read):
    rows = read(reply("A"), reply("A", score=1), reply("A", score=0.5), reply("A", tags={"k": [1]}))
    assert [row["score"] for row in rows] == [None, 1.0, 0.5, None]
    assert rows[3]["tags"] == {"k": [1]}
    assert [list(row) for row in rows] == [list(rows[0])] * 4


def test_nothing_is_left(read):
    read(reply(" "))
    with pytest.raises(UserError) as refused:
        read.last.refuse_empty()
    assert "there is no usable row (1 left out; the first: " in str(refused.value)
    assert str(refused.value).endswith("row 0 (counted from 0): the reply is empty)")


def test_memory_holds_a_chunk_of_a_large_file(tmp_path):
    """50,000 rows of 26 MB; at no time do more than a few chunks of 0.5 MB stand in memory."""
    num_rows, text = 50_000, "".join(chr(97 + n % 26) for n in range(500))
    table = pa.table(
        {
            "question": [f"{n} {text[: n % 100]}" for n in range(num_rows)],
            "response": [f"<think>{text}</think>{n}" for n in range(num_rows)],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    del table
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    before, most = pa.total_allocated_bytes(), 0
    rows = Rows(open_source(str(tmp_path / "in.parquet")), teacher="t", folder=waiting)
    keys = pa.total_allocated_bytes() - before
    assert len(list(waiting.iterdir())) == num_rows / importing.ROWS_PER_CHUNK == 50

    def watched():
        nonlocal most
        for part in rows.tables():
            assert part.num_rows <= importing.ROWS_PER_CHUNK
            most = max(most, pa.total_allocated_bytes() - before)
            yield part

    read = sum(part.num_rows for part in watched())
    assert read == len(rows) == num_rows
    assert keys < 4e6  # ids, teachers and numbers
    assert most < keys + 4e6
    pool = write_pool(rows.tables(), tmp_path / "pool", {}, rows_per_shard=20_000)
    assert pool.read(["id"])["id"].to_pylist()[-1] == f"in-{num_rows - 1}"
