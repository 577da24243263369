"""``pool import`` of real files: five teachers of MiP-Overthinking, GSM8K and MATH-500.

What is expected was read in the files by eye and written down, or is counted in the raw JSON.
"""

import json
from typing import NamedTuple

import pytest

from nt_lightning.__main__ import main
from nt_lightning.traces.importing import NO_BLOCK
from nt_lightning.traces.pool import Pool
from nt_lightning.traces.repetition import is_looped
from tests.integration.real_data import real_file


class Split(NamedTuple):
    """How the reply to the first question, James's sprints, begins and ends on either side."""

    reasoning: str
    reasoning_end: str
    answer: str
    answer_end: str


REPLIES = {"deepseekR1": "deepseek-reasoner (question)"}  # the others: model_answer
TEACHERS = {
    "deepseekR1": Split(
        "Okay, let's see. James is doing some sprinting, right? ",
        "**Final Answer**\nJames runs a total of \\boxed{540} meters each week.",
        "James runs 3 sprints 3 times a week, with each sprint being 60 meters. To find",
        "Therefore, the final answer is:  \n\\[\n\\boxed{540}\n\\]",
    ),
    "QwQ": Split(
        "Okay, so James is doing these sprints, right? Let me try to figure out",
        "**Final Answer**\nThe total meters James runs in a week is \\boxed{540}.",
        "James runs 3 sprints each session, and he does this 3 times a week. To find the total",
        "Both methods confirm that the total distance James runs in a week is \\boxed{540} meters.",
    ),
    "s1.1": Split(
        "Okay, let me try to figure this out. So, the problem is about James",
        "Yes, I'm confident with that.\n\n**Final Answer**\n\\boxed{540}",
        "Answer: James runs 3 sprints 3 times a week, with each sprint being 60 meters.",
        "Thus, the total meters James runs in a week is \\(\\boxed{540}\\).",
    ),
    "Qwen32": Split(
        "",
        "",
        "To find out how many total meters James runs a week, we can break the problem down",
        "Therefore, the total number of meters James runs a week is:\n\\[ \\boxed{540} \\]",
    ),
    "phi3": Split(
        "",
        "",
        "James runs 3 sprints 3 times a week, so he runs a total of 3 x 3 = 9 sprints a week.",
        "so he runs a total of 9 x 60 = 540 meters a week.",
    ),
}


@pytest.fixture
def imported(tmp_path, capsys):
    """Import a real file; returns the pool's rows, the quarantine and the printed line."""

    def run(*parts, kind="traces", **options):
        path, folder = real_file(*parts), tmp_path / "pool"
        given = [text for name, value in options.items() for text in (f"--{name}", value)]
        assert main(["pool", "import", "--input", str(path), "--output", str(folder), *given]) == 0
        listed = tmp_path / "pool.quarantine.jsonl"
        left_out = listed.read_text().splitlines() if listed.exists() else []
        run.pool = Pool(folder, kind)
        said = capsys.readouterr().out
        return run.pool.read().to_pylist(), [json.loads(line) for line in left_out], said

    return run


@pytest.mark.parametrize("teacher", TEACHERS)
def test_every_reply_is_a_trace_or_is_left_out_for_a_reason(teacher, imported):
    place = ("mip_overthinking", "response", "gsm8k", "normal", teacher, "response.json")
    raw = json.loads(real_file(*place).read_text())
    rows, left_out, said = imported(*place, teacher=teacher)
    assert len(raw) == 582
    assert len(rows) + len(left_out) == 582
    assert said.startswith(f"{imported.pool.folder}: {len(rows)} traces of {len(rows)} questions")
    lineage = imported.pool.manifest["lineage"]
    assert (lineage["rows_in"], lineage["rows_out"]) == (582, len(rows))
    assert lineage["format"] == "mip_overthinking"
    if teacher == "deepseekR1":  # its row 66 is "Error after 6 attempts: Error code: 500 ..."
        assert [(entry["row"], entry["reason"]) for entry in left_out] == [(66, NO_BLOCK)]
        assert "Error after 6 attempts: Error code: 500" in left_out[0]["text"]
        assert lineage["dropped"] == {NO_BLOCK: 1}
        assert f"1 left out (1 {NO_BLOCK})" in said
    else:
        assert left_out == []
    named = "DeepSeek-R1" if teacher == "deepseekR1" else teacher
    for row in rows:
        number, _, suffix = row["id"].removeprefix("response-").partition("/")
        source = raw[int(number)]
        reply = source[REPLIES.get(teacher, "model_answer")]
        assert suffix == row["teacher"] == named
        assert row["question"] == source["question"]
        assert row["reference_answer"] == source["answer"].rpartition("#### ")[2]
        assert row["source"] == "mip_overthinking"
        kept = len(row["reasoning"]) + len(row["answer"])
        assert len(reply) - 30 < kept <= len(reply)  # no more than a tag and blanks is lost
        assert bool(row["reasoning"]) == (teacher not in ("Qwen32", "phi3"))


@pytest.mark.parametrize("teacher", TEACHERS)
def test_reasoning_and_answer_are_where_a_reader_sees_them(teacher, imported):
    place = ("mip_overthinking", "response", "gsm8k", "normal", teacher, "response.json")
    rows, _, _ = imported(*place, teacher=teacher)
    (row,) = [row for row in rows if row["question"].startswith("James decides to run 3 sprints")]
    expected = TEACHERS[teacher]
    assert row["reasoning"].startswith(expected.reasoning)
    assert row["reasoning"].endswith(expected.reasoning_end)
    assert row["answer"].startswith(expected.answer)
    assert row["answer"].endswith(expected.answer_end)
    assert row["reference_answer"] == "540"


def test_the_reply_that_goes_round_in_circles_is_for_the_filter(imported):
    """It has no finish_reason, so that nothing but its text says it was cut off."""
    place = ("mip_overthinking", "response", "gsm8k", "normal", "phi3", "response.json")
    rows, _, _ = imported(*place, teacher="phi3")
    looped = [row for row in rows if is_looped(row["answer"])]
    assert [(row["id"], len(row["answer"])) for row in looped] == [("response-126/phi3", 106_917)]


@pytest.mark.parametrize(
    ("name", "count", "first", "comma"),
    [("train", 7473, "72", 79), ("test", 1319, "18", 14)],
)
def test_gsm8k(name, count, first, comma, imported):
    raw = [
        json.loads(line)
        for line in real_file("gsm8k", f"{name}.jsonl").read_text().split("\n")
        if line
    ]
    rows, left_out, said = imported("gsm8k", f"{name}.jsonl", kind="questions")
    assert said == f"{imported.pool.folder}: {count} questions\n"
    assert left_out == []
    assert [row["question"] for row in rows] == [row["question"] for row in raw]
    assert [row["id"] for row in rows] == [f"{name}-{number}" for number in range(count)]
    assert rows[0]["reference_answer"] == first
    golds = [row["reference_answer"] for row in rows]
    assert [raw[n]["answer"].endswith(f"#### {gold}") for n, gold in enumerate(golds)] == [
        True
    ] * count
    assert sum("," in gold for gold in golds) == comma


def test_math_500(imported):
    rows, _, said = imported("benchmarks", "math500_test.jsonl", kind="questions")
    assert said.endswith("500 questions\n")
    assert rows[0]["id"] == "test/precalculus/807.json"
    assert rows[0]["reference_answer"] == "\\left( 3, \\frac{\\pi}{2} \\right)"
    assert rows[0]["source"] == "math500_test"
    assert (rows[0]["subject"], rows[0]["level"]) == ("Precalculus", 2)
    assert "domain" not in rows[0]


def test_a_list_of_maths_problems(imported):
    rows, _, _ = imported("questions", "deepscaler_math_train.json", kind="questions")
    assert len(rows) == 7474
    assert rows[0]["id"] == "deepscaler_math_train-0"
    assert rows[0]["reference_answer"] == "0"
