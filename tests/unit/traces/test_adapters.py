"""JSONL to records: shapes, packed files, strict types, bad rows named or set aside."""

import gzip
import json
from pathlib import Path

import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces import importing
from nt_lightning.traces.adapters import read_jsonl, write_jsonl

DATA = Path(__file__).parents[4] / "shared" / "data"
GOOD = {"id": "a", "question": "Q", "teacher": "t", "reasoning": "R", "answer": "A"}


def write(path, *rows):
    """Rows as JSONL; text and bytes go in as they are."""
    with path.open("wb") as handle:
        for row in rows:
            line = row if isinstance(row, (str, bytes)) else json.dumps(row, ensure_ascii=False)
            handle.write((line.encode() if isinstance(line, str) else line) + b"\n")
    return path


def _lines(path):
    return Path(path).read_text().strip("\n").split("\n")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "in.jsonl"


def good(name, **changes):
    return {**GOOD, "id": name, **changes}


# -- shapes ----------------------------------------------------------------------------------------


def test_our_own_columns(file):
    row = good("a", verbosity=5, num_steps=5.0, correct=None, reasoning_strategies=["x", "y"])
    table = read_jsonl(write(file, {**row, "score": 0.5, "tags": {"k": [1]}}))
    expected = {**row, "num_steps": 5, "score": 0.5, "tags": {"k": [1]}}
    assert table.to_pylist() == [expected]
    assert table.column_names[:5] == ["id", "question", "teacher", "reasoning", "answer"]


def test_question_and_response(file):
    write(
        file,
        {"question": "Q", "response": "<think>\nR\n</think>\n\nA"},
        {"question": "Q", "response": "A", "reasoning": "R", "teacher": "other"},
        {"question": "Q", "response": "A", "id": 7, "teacher": None},
    )
    rows = read_jsonl(file, teacher="r1").to_pylist()
    assert [(row["id"], row["teacher"]) for row in rows] == [
        ("in-0", "r1"),
        ("in-1", "other"),
        ("7", "r1"),
    ]
    assert [(row["reasoning"], row["answer"]) for row in rows] == [
        ("R", "A"),
        ("R", "A"),
        ("", "A"),
    ]
    assert "response" not in rows[0]


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "<think>R</think>A"},
        {"content": " A", "reasoning_content": "R\n"},
        {"content": "A", "reasoning": "R"},
    ],
)
def test_messages(file, answer):
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    write(file, {"id": "a", "messages": [*turns, {"role": "assistant", **answer}]})
    assert read_jsonl(file, teacher="t").to_pylist() == [GOOD]


def test_reasoning_beside_messages(file):
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": " A\n"}]
    write(file, {"id": "a", "messages": turns, "reasoning": "R"})
    assert read_jsonl(file, teacher="t").to_pylist() == [GOOD]


def test_messages_in_parts_and_with_a_developer(file):
    def parts(*texts):
        return [{"type": "text", "text": text} for text in texts]

    turns = [
        {"role": "developer", "content": "D"},
        {"role": "user", "content": parts("What", "is it?")},
        {"role": "assistant", "content": parts("<think>R</think>A")},
    ]
    table = read_jsonl(write(file, {"id": "a", "messages": turns}), teacher="t")
    assert table.to_pylist() == [{**GOOD, "question": "What\nis it?"}]


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"answer": "7"}, "7"),
        ({"answer": 7}, "7"),
        ({"answer": "A"}, None),  # the reply's own, once more
        ({"answer": "A", "problem": "Q"}, "A"),
        ({"answer": "7", "reference_answer": "8"}, "8"),
        ({"answer": None}, None),
    ],
)
def test_another_answer_beside_a_reply_is_the_gold_one(file, beside, expected):
    turns = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "<think>R</think>A"},
    ]
    shared = [{"from": turn["role"], "value": turn["content"]} for turn in turns]
    write(
        file,
        {"id": "a", "messages": turns, **beside},
        {"id": "b", "messages": [turns[0], {"role": "assistant", "content": "A"}]}
        | {"reasoning": "R", **beside},
        {"id": "c", "conversations": shared, **beside},
    )
    for row in read_jsonl(file, teacher="t").to_pylist():
        assert (row["reasoning"], row["answer"]) == ("R", "A")
        assert row.get("reference_answer") == expected


def test_shapes_may_be_mixed_and_columns_absent(file, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", 2)
    rows = [good("a"), {**GOOD, "id": "b", "score": 1}, good("c"), good("d", score=2.5)]
    rows.append({"question": "Q", "response": "R</think>A", "teacher": "t", "topic": "sums"})
    table = read_jsonl(write(file, *rows))
    assert table["score"].to_pylist() == [None, 1.0, None, 2.5, None]
    assert table["topic"].to_pylist() == [None, None, None, None, "sums"]


# -- lines -----------------------------------------------------------------------------------------


def test_only_a_newline_ends_a_line(file):
    text = "one\u2028two\u2029three\x85four\x0bfive\rsix"
    write(file, "\ufeff" + json.dumps(good("a", answer=text), ensure_ascii=False), "", good("b"))
    rows = read_jsonl(file).to_pylist()
    assert rows[0]["answer"] == text
    assert rows[1]["id"] == "b"


def test_windows_line_ends(file):
    write(file, json.dumps(good("a")) + "\r", json.dumps(good("b")) + "\r")
    assert read_jsonl(file)["id"].to_pylist() == ["a", "b"]


def test_a_packed_file(tmp_path):
    packed = tmp_path / "in.jsonl.gz"
    row = {"question": "Q", "response": "A", "teacher": "t"}
    text = "".join(json.dumps(one) + "\n" for one in (row, {}, good("b", answer="one\u2028two")))
    packed.write_bytes(gzip.compress(text.encode()))
    table = read_jsonl(packed, on_bad_row="skip")
    assert table["id"].to_pylist() == ["in-0", "b"]
    assert [json.loads(line)["row"] for line in _lines(f"{packed}.quarantine.jsonl")] == [1]
    write_jsonl(table, packed)
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    assert read_jsonl(packed).equals(table)


@pytest.mark.parametrize("content", [b'{"id": "a"}\n', gzip.compress(b"{}\n" * 9)[:-9]])
def test_a_damaged_packed_file(tmp_path, content):
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(content)
    with pytest.raises(UserError, match="in.jsonl.gz: is no whole gzip file: "):
        read_jsonl(packed, on_bad_row="skip")


# -- bad rows --------------------------------------------------------------------------------------

BAD = [
    ('{"id": "x", ', "is no JSON"),
    (b'{"id": "\xff"}', "is no UTF-8: invalid start byte at byte 8"),
    ("[" * 100_000, "is no JSON"),
    ("[1]", "is no JSON object"),
    (good("x", question=5), "column 'question': is 5, not text"),
    (good("x", question=None), "column 'question': is null"),
    (good("x", question=" "), "column 'question': is empty"),
    (good("x", answer="\ud800"), "column 'answer': '\\ud800' cannot be stored"),
    (good("x", verbosity="high"), "column 'verbosity': is 'high', not a whole number"),
    (good("x", verbosity=5.5), "column 'verbosity': is 5.5, not a whole number"),
    (good("x", verbosity=True), "column 'verbosity': is True, not a whole number"),
    (good("x", verbosity=11), "column 'verbosity': is outside 0..10"),
    (good("x", num_steps=10**30), "column 'num_steps': 1000000000"),
    (good("x", correct="yes"), "column 'correct': is 'yes', not true or false"),
    (good("x", correct=1), "column 'correct': is 1, not true or false"),
    (good("x", reasoning_strategies="abc"), "is 'abc', not a list of texts"),
    (good("x", reasoning_strategies=["a", 1]), "is ['a', 1], not a list of texts"),
    (good("x", id=True), "column 'id': is True, not text"),
    (good("x", id=None), "column 'id': is null"),
    (good("a"), "column 'id': 'a' appears twice"),
    ({"question": "Q", "teacher": "t"}, "column 'reasoning': is missing"),
    ({"question": "Q", "response": "A"}, "column 'teacher': is missing; give the teacher's name"),
    ({**GOOD, "response": 5, "answer": None}, "column 'answer': is null"),
    ({"question": "Q", "teacher": "t", "response": 5}, "column 'response': is 5, not text"),
    ({}, "its columns (none) fit no format; a question stands in 'question'"),
    ({"text": "Q"}, "its columns (text) fit no format"),
    ({"question": "Q", "answer": "A"}, "a gold answer is called reference_answer (--column"),
    ({"teacher": "t", "messages": "Q"}, "column 'messages': is no list of"),
    (
        {"teacher": "t", "messages": [{"role": "user", "content": "Q"}]},
        "needs one user and one assistant turn, has ['user']",
    ),
    (
        {
            "teacher": "t",
            "messages": [
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": [{"type": "image", "text": "A"}]},
            ],
        },
        "column 'content': is [{'type': 'image', 'text': 'A'}], not text",
    ),
    *(
        (
            {
                "teacher": "t",
                "reasoning": "R",
                "messages": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": content},
                ],
            },
            "column 'messages': has a think block beside a column 'reasoning'",
        )
        for content in ("<think>R</think>A", "<think>\n</think>A", "[THINK]R[/THINK]A")
    ),
]


@pytest.mark.parametrize(("row", "problem"), BAD)
def test_a_bad_row_is_named(file, row, problem):
    lines = [good("a", score=1), json.dumps(row) if isinstance(row, dict) else row, good("c")]
    with pytest.raises(UserError) as refused:
        read_jsonl(write(file, *lines))
    assert str(refused.value).startswith(f"{file}: row 1 (counted from 0): ")
    assert problem in str(refused.value)


@pytest.mark.parametrize("rows_per_chunk", [2, 10_000])
def test_bad_rows_are_set_aside_and_listed(file, monkeypatch, rows_per_chunk, caplog):
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", rows_per_chunk)
    lines = [good("a", score=1)]
    for number, (row, _) in enumerate(BAD):
        lines += [json.dumps(row) if isinstance(row, dict) else row, good(f"good-{number}")]
    table = read_jsonl(write(file, *lines), on_bad_row="skip")
    assert table["id"].to_pylist() == ["a", *(f"good-{number}" for number in range(len(BAD)))]
    listed = [json.loads(line) for line in _lines(f"{file}.quarantine.jsonl")]
    assert [row["row"] for row in listed] == [1 + 2 * number for number in range(len(BAD))]
    for row, (bad, problem) in zip(listed, BAD, strict=True):
        assert problem in row["reason"]
        assert isinstance(bad, bytes) or row["text"] in (bad, json.dumps(bad))
    assert f"{len(BAD)} rows left out" in caplog.text


@pytest.mark.parametrize("rows_per_chunk", [1, 10_000])
def test_a_column_of_several_kinds_is_left_out_and_no_row(
    file, monkeypatch, caplog, rows_per_chunk
):
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", rows_per_chunk)
    values = [1, 2.5, None, "much", True, 3]
    write(file, *(good(f"{n}", extra=value, level=n) for n, value in enumerate(values)))
    table = read_jsonl(file)
    assert table["level"].to_pylist() == list(range(6))
    assert "extra" not in table.column_names
    assert caplog.text.count("column 'extra' is left out: it holds numbers and text") == 1


def test_the_quarantine_may_be_elsewhere(file, tmp_path):
    write(file, good("a"), "{")
    read_jsonl(file, on_bad_row="skip", quarantine=tmp_path / "q.jsonl")
    assert json.loads((tmp_path / "q.jsonl").read_text())["row"] == 1
    assert not Path(f"{file}.quarantine.jsonl").exists()


def test_nothing_usable(file, tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_jsonl(file)
    with pytest.raises(UserError, match=r"no usable row \(0 left out\)"):
        read_jsonl(write(file))
    with pytest.raises(UserError, match=r"row \(2 left out; the first: .*row 0 \(counted"):
        read_jsonl(write(file, "{", good("a", verbosity=11)), on_bad_row="skip")
    with pytest.raises(UserError, match="on_bad_row is 'drop'; allowed: error, skip"):
        read_jsonl(file, on_bad_row="drop")


@pytest.mark.parametrize("second", [[{"k": 1}, {"k": "x"}], [[{"k": "x"}], [{"k": 1}]]])
def test_objects_that_do_not_go_together(file, monkeypatch, second):
    monkeypatch.setattr(importing, "ROWS_PER_CHUNK", 1)
    write(file, *(good(f"{n}", extra=value) for n, value in enumerate(second)))
    with pytest.raises(UserError, match="do not go together"):
        read_jsonl(file)


# -- round trip and real data ----------------------------------------------------------------------


def test_write_and_read(file):
    rows = [good("a", answer="one\u2028two", score=0.5), good("b", verbosity=3)]
    table = read_jsonl(write(file, *rows))
    write_jsonl(table, file)
    assert read_jsonl(file).equals(table)
    assert json.loads(file.read_text().split("\n")[0]) == rows[0]


TEACHERS = {
    "deepseekR1": "deepseek-reasoner (question)",
    "QwQ": "model_answer",
    "s1.1": "model_answer",
    "Qwen32": "model_answer",
}


@pytest.mark.parametrize("teacher", TEACHERS)
def test_real_replies(file, teacher):
    folder = DATA / "mip_overthinking" / "response" / "gsm8k" / "normal"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    replies = json.loads((folder / teacher / "response.json").read_text())
    rows = [
        {"question": reply["question"], "response": reply[TEACHERS[teacher]]} for reply in replies
    ]
    table = read_jsonl(write(file, *rows), teacher=teacher)
    assert table.num_rows == {"deepseekR1": 581}.get(teacher, 582)  # one is an error message
    thinking = sum(bool(text) for text in table["reasoning"].to_pylist())
    assert thinking == (0 if teacher == "Qwen32" else table.num_rows)
    assert "</think>" not in "".join(table["reasoning"].to_pylist() + table["answer"].to_pylist())


def test_real_responses_some_of_them_cut_off(file):
    folder = DATA / "reasoningflow" / "data_raw" / "v1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    source = folder / "gpt-oss-120b_argkp_responses.jsonl"
    keys = ("question", "response")
    rows = [{key: json.loads(line)[key] for key in keys} for line in _lines(source)]
    table = read_jsonl(write(file, *rows), teacher="gpt-oss-120b", on_bad_row="skip")
    assert table.num_rows <= len(rows) == 24
    assert all(table["reasoning"].to_pylist())
