"""Questions to traces: what servers say, what is left out, what is asked again."""

import json

import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.pool import generate as generating
from nt_lightning.pool.commands.generate_pool import generate_pool
from nt_lightning.pool.teachers import Teacher
from nt_lightning.requests.budget import Caps
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
    assert pool.manifest["lineage"]["dropped"] == dict.fromkeys(wanted.values(), 1)
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
    left_out = Pool(tmp_path / "two").manifest["lineage"]["dropped"]
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
        (
            [{}, {"name": "b"}],
            "teachers 'r1' and 'b' send the same.* --served-model-name, .*--alias",
        ),
        (
            [{}, {"name": "b", "base_url": "http://h/v1", "samples": 2, "concurrency": 2}],
            "teachers 'r1' and 'b' send the same requests",
        ),
        ([{"samples": 2, "temperature": 0.0}], r"teachers\[0\].temperature is 0 and samples is 2"),
        ([{"samples": 2, "extra_body": {"temperature": 0}}], "temperature is 0 and samples is 2"),
        ([{"extra_body": {"seed": "x"}}], "extra_body.seed is 'x'; allowed: a whole number"),
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
        table = table.append_column("domain", pa.array(["a", "b", "c"]))
        table = table.append_column("lalp", pa.array([-0.5, -0.7, -0.9]))
        write_pool(table, tmp_path / "annotated", {})
        second = teacher(server, name="second", model="llama")
        generate_pool(str(tmp_path / "annotated"), str(tmp_path / "two"), [second])
    pool = Pool(tmp_path / "two")
    # of unknown columns, such as level, nobody can say whether they are about the older trace
    assert sorted(pool.column_names) == sorted(
        [
            *("id", "question", "teacher", "reasoning", "answer", "reference_answer", "domain"),
            *("finish_reason", "response_tokens", "sample", "request_key", "question_key"),
        ]
    )
    row = pool.read(["teacher", "reference_answer", "domain"]).to_pylist()[1]
    assert row == {"teacher": "second", "reference_answer": "3", "domain": "b"}


TAGGED = {
    "a closing tag left in front of the answer": (
        reply_of("</think>\n\nIt is 2.", reasoning="so"),
        ("so", "It is 2."),
    ),
    "an opening tag left in front of the reasoning": (
        reply_of("It is 2.", reasoning="<think>\nso"),
        ("so", "It is 2."),
    ),
    "a block of its own": (reply_of("<think>b</think>It is 2.", reasoning="so"), None),
    "a tag within the answer": (reply_of("It is <think> 2", reasoning="so"), None),
    "a tag within the reasoning": (reply_of("It is 2.", reasoning="so </think> so"), None),
    "another notation": (reply_of("[THINK]a[/THINK]the tag </think> ends it"), None),
    "nothing but a tag": (reply_of("It is 2.", reasoning="<think>"), ("", "It is 2.")),
}


@pytest.mark.parametrize("name", TAGGED)
def test_one_reply_with_a_tag_does_not_take_the_others_with_it(questions, tmp_path, name):
    reply, wanted = TAGGED[name]

    def answer(body):
        return (200, reply) if "3?" in body["messages"][-1]["content"] else thinking(body)

    with chat(answer) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server)])
    pool = Pool(tmp_path / "out")
    made = {row["id"]: (row["reasoning"], row["answer"]) for row in pool.read().to_pylist()}
    assert made.pop("d/r1/0", None) == wanted
    assert sorted(made) == ["a/r1/0", "b/r1/0"]
    left_out = {} if wanted else {"holds a think tag": 1}
    assert pool.manifest["lineage"]["dropped"] == left_out


def test_each_sample_has_its_seed(questions, tmp_path):
    with chat(thinking) as server:
        seeded = teacher(server, samples=3, extra_body={"seed": 7})
        generate_pool(questions, str(tmp_path / "out"), [seeded])
        assert sorted(body["seed"] for body in server.bodies) == [7, 7, 7, 8, 8, 8, 9, 9, 9]


def test_the_system_prompt_is_sent_and_known(questions, tmp_path):
    with chat(thinking) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server, system="Be brief.")])
        assert {json.dumps(body["messages"][0]) for body in server.bodies} == {
            json.dumps({"content": "Be brief.", "role": "system"})
        }
    (about,) = Pool(tmp_path / "out").manifest["lineage"]["teachers"]
    assert about["system"] == "Be brief."


def test_the_lineage_says_what_was_asked_and_spent(questions, tmp_path):
    with chat(thinking) as server:
        priced = teacher(server, samples=2, usd_per_million_output=1e5)
        generate_pool(questions, str(tmp_path / "out"), [priced])
    lineage = Pool(tmp_path / "out").manifest["lineage"]
    assert (lineage["questions"], lineage["requests"], lineage["rows_out"]) == (3, 6, 6)
    assert lineage["spent"] == {"requests": 6, "tokens": 90, "usd": pytest.approx(6.0)}
    assert (lineage["unfinished"], lineage["dropped"]) == (0, {})


def test_after_a_cap_what_the_store_has_is_not_called_unasked(questions, tmp_path, capsys):
    with chat(thinking) as server:
        old, new = teacher(server, name="old"), teacher(server, name="new", model="llama")
        generate_pool(questions, str(tmp_path / "one"), [old])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            generate_pool(questions, str(tmp_path / "two"), [new, old], caps=Caps(max_requests=4))
    lineage = Pool(tmp_path / "two").manifest["lineage"]
    assert lineage["dropped"] == {"not asked": 2}
    assert (lineage["unfinished"], lineage["rows_out"]) == (2, 4)
    assert "stopped at caps.max_requests 4: 2 not asked" in capsys.readouterr().out


def test_what_gave_up_is_not_called_unasked(questions, tmp_path, capsys):
    def reply(body):
        text = body["messages"][-1]["content"]
        return (403, {"error": "flagged"}) if "1 + 1" in text else thinking(body)

    out = str(tmp_path / "out")
    with chat(reply) as server, pytest.raises(SystemExit):
        generate_pool(questions, out, [teacher(server, concurrency=1)], caps=Caps(max_requests=2))
    said = capsys.readouterr().out
    assert "stopped at caps.max_requests 2: 1 not asked; with" in said
    assert "\n1 had no reply; the same command asks them again" in said
    assert Pool(tmp_path / "out").manifest["lineage"]["unfinished"] == 2


@pytest.mark.parametrize("place", ["out/r.sqlite", "out", "out/a/../r.sqlite", "link/r.sqlite"])
def test_a_store_in_the_output_is_refused_before_it_is_opened(questions, tmp_path, place):
    out, store = tmp_path / "out", str(tmp_path / place)
    (tmp_path / "link").symlink_to(out)
    with chat(thinking) as server:
        with pytest.raises(UserError, match="is in the output .*; give a file beside it"):
            generate_pool(questions, str(out), [teacher(server)], store=store)
        assert not out.exists()
        generate_pool(questions, str(out), [teacher(server)])
        digest, files = Pool(out).digest, sorted(out.rglob("*"))
        with pytest.raises(UserError, match="is in the output"):
            generate_pool(questions, str(out), [teacher(server)], store=store, overwrite=True)
    assert (Pool(out).digest, sorted(out.rglob("*"))) == (digest, files)


def test_a_link_in_the_output_is_no_place_either(questions, tmp_path):
    """The store's lock lies beside the link."""
    out = tmp_path / "out"
    with chat(thinking) as server:
        generate_pool(questions, str(out), [teacher(server)])
        link = out / "r.sqlite"
        link.symlink_to(tmp_path / "far.sqlite")
        with pytest.raises(UserError, match="is in the output"):
            generate_pool(questions, str(out), [teacher(server)], store=str(link), overwrite=True)


def test_few_traces_are_in_memory_at_a_time(tmp_path, monkeypatch):
    texts = [f"{n}?" for n in range(300)]
    write_pool(pa.table({"id": texts, "question": texts}), tmp_path / "in", {}, kind="questions")
    sizes, make = [], generating._table

    def counted(rows, inherited):
        sizes.append(len(rows))
        return make(rows, inherited)

    monkeypatch.setattr(generating, "_table", counted)
    monkeypatch.setattr(generating, "TRACES_AT_A_TIME", 100)
    with chat(thinking) as server:
        teachers = [teacher(server, samples=3), teacher(server, name="b", model="b")]
        generate_pool(str(tmp_path / "in"), str(tmp_path / "out"), teachers)
    assert sizes == [100] * 12
    pool = Pool(tmp_path / "out")
    assert len(pool) == 1200
    assert len(pool.manifest["shards"]) == 1


def test_a_cap_that_lets_nothing_through_is_named(questions, tmp_path):
    with chat(thinking) as server, pytest.raises(UserError) as stop:
        generate_pool(
            questions, str(tmp_path / "out"), [teacher(server)], caps=Caps(max_tokens=100)
        )
    assert server.bodies == []
    said = str(stop.value)
    assert "stopped at caps.max_tokens 100: 3 not asked; one request may cost up to 1" in said
    assert "tokens (prompt and max_tokens), the cap leaves 100; with a larger cap" in said
    assert "no response" not in said


@pytest.mark.parametrize("prices", [{}, {"usd_per_million_output": 1.0}])
def test_a_cap_on_money_needs_prices(questions, tmp_path, prices):
    with (
        chat(thinking) as server,
        pytest.raises(UserError, match=r"teachers\[0\] has no usd_per_million_input.*0: it costs"),
    ):
        generate_pool(
            questions, str(tmp_path / "out"), [teacher(server, **prices)], caps=Caps(max_usd=20)
        )
    assert server.bodies == []
    assert not (tmp_path / "requests.sqlite").exists()


def test_what_other_outputs_have_spent_is_shown_and_the_counts_agree(questions, tmp_path, capsys):
    with chat(thinking) as server:
        one = teacher(server, concurrency=1)
        generate_pool(questions, str(tmp_path / "one"), [one])
        capsys.readouterr()
        two = teacher(server, samples=2, concurrency=1)
        with pytest.raises(SystemExit):
            generate_pool(questions, str(tmp_path / "two"), [two], caps=Caps(max_requests=4))
        assert len(server.bodies) == 4
    said = capsys.readouterr().out
    assert "4 traces of 1 teachers; 1 requests, 3 found in the store; 15 tokens" in said
    assert "left out: 2 not asked" in said
    assert "stopped at caps.max_requests 4: 2 not asked; with a larger cap" in said
    store = tmp_path / "requests.sqlite"
    assert f"spent so far in {store}, by pool generate for all outputs: 4 requests, 60 to" in said
    lineage = Pool(tmp_path / "two").manifest["lineage"]
    assert lineage["spent"] == {"requests": 1, "tokens": 15, "usd": 0.0}
    assert lineage["spent_in_all"] == {"requests": 4, "tokens": 60, "usd": 0.0}


def test_requests_are_as_many_as_the_server_saw(questions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.tries.FIRST_WAIT_S", 0.005)
    busy = iter([(429, {}), (500, {}), (200, {"no": "completion"})])

    with chat(lambda body: next(busy, None) or thinking(body)) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server, concurrency=1)])
        assert len(server.bodies) == 6
    said = capsys.readouterr().out
    assert "; 6 requests (1 answered 429 or 503), 0 found in the store; 45 tokens, up to " in said
    assert " more for 1 lost requests" in said
    lineage = Pool(tmp_path / "out").manifest["lineage"]
    assert lineage["spent"] == {"requests": 6, "tokens": 45, "usd": 0.0}
    assert lineage["perhaps_spent"]["requests"] == 1
    assert lineage["spent_in_all"]["tokens"] == 45 + lineage["perhaps_spent"]["tokens"]


def test_what_was_refused_is_asked_again_on_demand(questions, tmp_path, capsys):
    refusing = True

    def reply(body):
        if refusing and "3" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": "too long"}}
        return thinking(body)

    out = str(tmp_path / "out")
    with chat(reply) as server:
        one = teacher(server, concurrency=1)
        generate_pool(questions, out, [one])
        assert "1 of 3 requests failed; --retry_failed true asks them" in capsys.readouterr().out
        generate_pool(questions, out, [one], retry_failed=True)  # refused again
        assert len(server.bodies) == 4
        refusing = False
        generate_pool(questions, out, [one], retry_failed=True)
        assert (len(server.bodies), len(Pool(out))) == (5, 3)
        generate_pool(questions, str(tmp_path / "other"), [one], retry_failed=True)
        assert len(server.bodies) == 5  # the store knows the later try
    assert Pool(out).digest == Pool(tmp_path / "other").digest
    assert "failed" not in capsys.readouterr().out.splitlines()[-1]


def test_an_unfinished_pool_is_replaced_by_the_same_command_alone(questions, tmp_path):
    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    table = pa.table({"id": ["z"], "question": ["9 + 9?"]})
    write_pool(table, other, {}, kind="questions")
    with chat(thinking) as server:
        one = teacher(server, concurrency=1)
        with pytest.raises(SystemExit):
            generate_pool(questions, out, [one], caps=Caps(max_requests=2))
        before = Pool(out).digest
        for source, asked in ((other, one), (questions, teacher(server, temperature=1.0))):
            with pytest.raises(UserError, match="an unfinished pool of another command, .*--over"):
                generate_pool(source, out, [asked])
        assert Pool(out).digest == before
        moved = teacher(server, concurrency=2, timeout_s=9)  # speed is no setting of the traces
        generate_pool(questions, out, [moved])
    assert len(Pool(out)) == 3


def test_every_entry_of_a_lineage_has_the_same_four(questions, tmp_path):
    with chat(thinking) as server:
        generate_pool(questions, str(tmp_path / "out"), [teacher(server)])
    lineage = Pool(tmp_path / "out").manifest["lineage"]
    assert (lineage["rows_in"], lineage["rows_out"], lineage["dropped"]) == (4, 3, {})
    assert lineage["config_digest"] == digest(
        generating.settings_of([Teacher(model="r1", max_tokens=50)])
    )
