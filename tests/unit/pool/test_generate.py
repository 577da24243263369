"""Questions to traces: what servers say, what is left out, what is asked again."""

import json

import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.pool.commands.generate_pool import generate_pool
from nt_lightning.pool.requests.budget import Caps
from nt_lightning.pool.teachers import Teacher
from nt_lightning.traces.pool import Pool, write_pool
from tests.servers.chat import chat, reply_of


@pytest.fixture
def questions(tmp_path):
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "question": ["1 + 1?", "1 + 2?", "1 + 1?", "1 + 3?"],
            "reference_answer": ["2", "3", "2", None],
            "level": [1, 2, 1, 3],
        }
    )
    write_pool(table, tmp_path / "questions", {"by": "hand"}, kind="questions", rows_per_shard=2)
    return str(tmp_path / "questions")


def teacher(server, **options):
    given = {"model": "r1", "base_url": server.url, "max_tokens": 50, "timeout_s": 5, **options}
    return Teacher(**given)


def thinking(body):
    text = body["messages"][-1]["content"]
    return f"<think>\nabout {text}\n</think>\n\nsum of {text}"


def test_each_distinct_question_is_asked_n_times_and_keeps_its_columns(questions, tmp_path, capsys):
    with chat(thinking) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server, samples=2)])
        assert sorted(server.texts) == sorted(["1 + 1?", "1 + 2?", "1 + 3?"] * 2)
        assert server.bodies[0] == {
            "model": "r1",
            "messages": [{"role": "user", "content": "1 + 1?"}],
            "temperature": 0.6,
            "top_p": 0.95,
            "max_tokens": 50,
        }
    rows = Pool(tmp_path / "out").read().to_pylist()
    assert [row["id"] for row in rows] == [
        "a/r1/0",
        "a/r1/1",
        "b/r1/0",
        "b/r1/1",
        "d/r1/0",
        "d/r1/1",
    ]
    key = rows[3].pop("request_key")
    assert len(key) == 32
    rows[3].pop("question_key")
    assert rows[3] == {
        "id": "b/r1/1",
        "question": "1 + 2?",
        "reference_answer": "3",
        "level": 2,
        "teacher": "r1",
        "reasoning": "about 1 + 2?",
        "answer": "sum of 1 + 2?",
        "finish_reason": "stop",
        "response_tokens": 10,
        "sample": 1,
    }
    assert "6 traces of 1 teachers; 6 requests, 0 found in the store" in capsys.readouterr().out


def test_the_same_command_asks_nothing_again(questions, tmp_path, capsys):
    with chat(thinking) as server:
        for name in ("one", "two"):
            generate_pool(questions, str(tmp_path / name), [teacher(server)])
        assert len(server.bodies) == 3
        more = [teacher(server, samples=2), teacher(server, name="other", temperature=1.0)]
        generate_pool(questions, str(tmp_path / "three"), more)
        assert len(server.bodies) == 9
    assert Pool(tmp_path / "one").digest == Pool(tmp_path / "two").digest
    assert "3 traces of 1 teachers; 0 requests, 3 found" in capsys.readouterr().out


SHAPES = {
    "1 + 1?": reply_of("It is 2.", reasoning="one and one"),
    "1 + 2?": reply_of("<think>so", "length"),
    "1 + 3?": reply_of("", "stop", reasoning="only thought"),
}


def test_replies_that_are_no_traces_are_listed(questions, tmp_path, capsys):
    with chat(lambda body: (200, SHAPES[body["messages"][-1]["content"]])) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server)])
    pool = Pool(tmp_path / "out")
    row = pool.read().to_pylist()[0]
    assert (len(pool), row["reasoning"], row["answer"]) == (1, "one and one", "It is 2.")
    listed = (tmp_path / "out" / "generation" / "left_out.jsonl").read_text().splitlines()
    reasons = {one["id"]: one["reason"] for one in map(json.loads, listed)}
    wanted = {"b/r1/0": "cut off at max_tokens", "d/r1/0": "reasoning without an answer"}
    assert reasons == wanted
    assert pool.manifest["lineage"]["left_out"] == dict.fromkeys(wanted.values(), 1)
    assert pool.manifest["lineage"]["from"]["lineage"] == {"by": "hand"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reply_of("<think>never closed"), "is never closed"),
        (reply_of(""), "empty"),
        (reply_of("x", "content_filter"), "finish_reason content_filter"),
        (reply_of("<think>a</think>b<think>c</think>d"), "more than one think block"),
    ],
)
def test_without_a_single_trace_there_is_no_pool(questions, tmp_path, reply, reason):
    with (
        chat(lambda body: (200, reply)) as server,
        pytest.raises(UserError, match=f"no response is a trace: 3 .*{reason}"),
    ):
        generate_pool(questions, str(tmp_path / "out"), [teacher(server)])
    assert not (tmp_path / "out").exists()


def test_a_cap_stops_and_a_larger_one_goes_on(questions, tmp_path, capsys):
    out = str(tmp_path / "out")
    with chat(thinking) as server:
        with pytest.raises(SystemExit) as stop:
            generate_pool(questions, out, [teacher(server)], caps=Caps(max_requests=2))
        assert (stop.value.code, len(server.bodies), len(Pool(out))) == (3, 2, 2)
        assert "stopped at caps.max_requests 2: 1 not asked" in capsys.readouterr().out
        generate_pool(questions, out, [teacher(server)], caps=Caps(max_requests=3))
        assert (len(server.bodies), len(Pool(out))) == (3, 3)
        with pytest.raises(UserError, match="holds a pool; give --overwrite"):
            generate_pool(questions, out, [teacher(server)])


def test_what_a_server_refuses_is_left_out(questions, tmp_path):
    def reply(body):
        if "3" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": "too long"}}
        return thinking(body)

    with chat(reply) as server:
        for name in ("one", "two"):
            # one at a time: before its first reply, a server's 400 may mean the model or the key
            generate_pool(questions, str(tmp_path / name), [teacher(server, concurrency=1)])
        assert len(server.bodies) == 3
    left_out = Pool(tmp_path / "two").manifest["lineage"]["left_out"]
    assert left_out == {"refused by the server": 1}


def test_a_key_goes_into_the_header_alone(questions, tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-secret-123")
    with chat(thinking) as server:
        generate_pool(
            questions, str(tmp_path / "out"), [teacher(server, api_key_env="TEACHER_KEY")]
        )
        assert all("authorization: bearer sk-secret-123" in one.lower() for one in server.heads)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sk-secret-123" in path.read_bytes()]


@pytest.mark.parametrize(
    ("teachers", "problem"),
    [
        ([], "teachers is empty"),
        ([{}, {}], "2 teachers are called 'r1'"),
        ([{"samples": 0}], r"teachers\[0\].samples is 0; allowed: 1 and more"),
        ([{"base_url": "localhost:80"}], r"teachers\[0\].base_url is 'localhost:80'; needed: http"),
        ([{"base_url": "http://u:p@h/v1"}], "holds a user, a password"),
        ([{"api_key_env": "NO_SUCH_KEY"}], "environment variable NO_SUCH_KEY is not set"),
        ([{"top_p": 0.0}], r"teachers\[0\].top_p is 0.0; allowed: above 0, up to 1"),
        ([{"concurrency": 0}], r"teachers\[0\].concurrency is 0; allowed: 1 and more"),
    ],
)
def test_wrong_teachers(questions, tmp_path, teachers, problem):
    made = [Teacher(**{"model": "r1", **options}) for options in teachers]
    with pytest.raises(UserError, match=problem):
        generate_pool(questions, str(tmp_path / "out"), made)
    assert not (tmp_path / "requests.sqlite").exists()


def test_traces_give_their_questions_and_not_their_annotations(questions, tmp_path):
    with chat(thinking) as server:
        generate_pool(questions, str(tmp_path / "one"), [teacher(server)])
        table = Pool(tmp_path / "one").read().append_column("verbosity", pa.array([1, 2, 3]))
        write_pool(table, tmp_path / "annotated", {})
        second = teacher(server, name="second", model="llama")
        generate_pool(str(tmp_path / "annotated"), str(tmp_path / "two"), [second])
    pool = Pool(tmp_path / "two")
    assert "verbosity" not in pool.column_names
    assert pool.read(["teacher", "level"]).to_pylist()[1] == {"teacher": "second", "level": 2}
