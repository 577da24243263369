"""Public sets in the shapes that their data cards publish; rows written by hand."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.finishing import NO_REPLY
from nt_lightning.traces.importing import Rows
from nt_lightning.traces.public_sets import FURTHER, NAMELESS, NO_FINAL_ANSWER, UNFINISHED
from nt_lightning.traces.responses import UNCLEAR, UNENDED
from nt_lightning.traces.sources import open_source

NATURAL = {
    "question": "Why is the sky blue?",
    "reference_answer": "Rayleigh scattering",
    "responses": [
        {"response_model": "Llama3.3-70B-Instruct", "response": "## Step 1\nLight scatters."}
    ],
}
OPENTHOUGHTS = {
    "system": "Your role as an assistant involves ...",
    "conversations": [
        {"from": "user", "value": "What is 2 + 2?"},
        {
            "from": "assistant",
            "value": "<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
            "<|begin_of_solution|>\n\nIt is 4.\n\n<|end_of_solution|>",
        },
    ],
}
METADATA = {
    "problem": "What is 2 + 2?",
    "deepseek_reasoning": "Two and two.\n",
    "deepseek_solution": "It is 4.",
    "ground_truth_solution": "4",
    "domain": "math",
    "source": "numina_math",
    "test_cases": None,
    "starter_code": None,
}
OPENR1 = {
    "problem": "What is 2 + 2?",
    "solution": "2 + 2 = 4",
    "answer": "4",
    "problem_type": "Algebra",
    "question_type": "math-word-problem",
    "source": "olympiads",
    "uuid": "0b7b-11",
    "is_reasoning_complete": [True, True, False],
    "generations": ["<think>\nTwo.\n</think>\n\nIt is 4.", "<think>Hm.</think>5.", "<think>Well"],
    "correctness_math_verify": [True, False, False],
    "correctness_llama": None,
    "finish_reasons": ["stop", "stop", "length"],
    "correctness_count": 1,
    "messages": [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "<think>\nTwo.\n</think>\n\nIt is 4."},
    ],
}
S1K = {
    "solution": "4",
    "question": "What is 2 + 2?",
    "cot_type": "math",
    "source_type": "AI-MO/NuminaMath-CoT/aops_forum",
    "metadata": "{}",
    "gemini_thinking_trajectory": "Add them.",
    "gemini_attempt": "5",
    "deepseek_thinking_trajectory": "Two and two.",
    "deepseek_attempt": "It is 4.",
    "gemini_grade": "No",
    "gemini_grade_reason": "It is wrong.",
    "deepseek_grade": "Yes",
    "deepseek_grade_reason": "It is right.",
}
LIMO = {
    "question": "What is 2 + 2?",
    "solution": "Okay, two.\n\nAnd two more.\n\n**Final Answer**\n\\boxed{4}",
    "answer": "4",
}
GSM8K = {"question": "How far?", "answer": "3*360=<<3*360=1080>>1,080 metres\n#### 1,080"}
MATH_500 = {
    "problem": "What is $2 + 2$?",
    "solution": "It is $\\boxed{4}$.",
    "answer": "4",
    "subject": "Algebra",
    "level": 2,
    "unique_id": "test/algebra/1.json",
}
AIME = {"id": 60, "problem": "P?", "solution": "S", "answer": "204", "url": "u", "year": "2024"}
MIP = {"question": "How far?", "answer": "9*60\n#### 540"}


def write(tmp_path, suffix, *rows, name="set"):
    path = tmp_path / f"{name}{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(params=[".jsonl", ".json", ".parquet"])
def read(tmp_path, request):
    """Rows of a file as a pool has them, without nulls, and the import."""

    def read(*rows, name="set", **options):
        found = Rows(open_source(write(tmp_path, request.param, *rows, name=name)), **options)
        read.last = found
        out = [row for table in found.tables() for row in table.to_pylist()]
        return [{key: value for key, value in row.items() if value is not None} for row in out]

    return read


def test_natural_reasoning(read):
    silent = {**NATURAL, "reference_answer": "", "responses": []}
    assert read(NATURAL, silent, name="natural_reasoning") == [
        {
            "id": "natural_reasoning-0",
            "question": "Why is the sky blue?",
            "reference_answer": "Rayleigh scattering",
            "source": "natural_reasoning",
            "second_teacher": "Llama3.3-70B-Instruct",
            "second_answer": "## Step 1\nLight scatters.",
        },
        {
            "id": "natural_reasoning-1",
            "question": "Why is the sky blue?",
            "source": "natural_reasoning",
        },
    ]
    assert (read.last.kind, read.last.formats) == ("questions", ["natural_reasoning"])


def test_responses_beside_the_first_are_counted(read):
    """An ``id`` of the set's own is the question's, not that of a response that is left out."""
    (one,) = NATURAL["responses"]
    two = {"response_model": "Q", "response": "B"}
    rows = [
        {**NATURAL, "id": "a", "responses": [one, two, two]},
        {**NATURAL, "id": "b", "responses": [{**one, "response_model": None}, two]},
        {**NATURAL, "id": "c", "responses": [{**one, "response": " "}]},
    ]
    found = read(*rows)
    assert [row["id"] for row in found] == ["a", "b", "c"]
    assert [row.get("second_teacher") for row in found] == ["Llama3.3-70B-Instruct", "Q", None]
    assert [row.get("second_answer") for row in found] == [one["response"], "B", None]
    assert read.last.quarantine.counts == {FURTHER: 2, NAMELESS: 2}


def test_a_column_that_is_not_confirmed_is_named(read):
    other = {**NATURAL, "responses": [{"model": "Llama", "response": "A"}]}
    with pytest.raises(UserError) as refused:
        read(other)
    assert "'response_model' is missing; found: model, response" in str(refused.value)
    other = {"question": "Q", "reference": "A", "responses": []}
    with pytest.raises(UserError) as refused:
        read(other | {"responses": NATURAL["responses"]})
    assert "column 'reference_answer': is missing; the format natural_reasoning" in str(
        refused.value
    )
    assert "found: question, reference, responses" in str(refused.value)
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    with pytest.raises(UserError, match="'from' is missing; found: role, content"):
        read({"system": "S", "conversations": turns})


def test_openthoughts(read):
    expected = {
        "id": "set-0",
        "question": "What is 2 + 2?",
        "teacher": "DeepSeek-R1",
        "reasoning": "Two and two.",
        "answer": "It is 4.",
        "source": "OpenThoughts-114k",
    }
    assert read(OPENTHOUGHTS) == [expected]
    assert read(OPENTHOUGHTS, teacher="QwQ-32B")[0]["teacher"] == "QwQ-32B"  # of Sky-T1, say
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "<think>R</think>A"}]
    with pytest.raises(UserError, match="'teacher': is missing; give the teacher's name"):
        read({"conversations": turns})
    (row,) = read({"conversations": turns}, teacher="t")
    assert (row["question"], row["reasoning"], row["answer"]) == ("Q", "R", "A")
    assert "source" not in row


def test_openthoughts_metadata(read):
    assert read(METADATA, name="OpenThoughts-114k") == [
        {
            "id": "OpenThoughts-114k-0",
            "question": "What is 2 + 2?",
            "teacher": "DeepSeek-R1",
            "reasoning": "Two and two.",
            "answer": "It is 4.",
            "reference_answer": "4",
            "source": "OpenThoughts-114k/numina_math",
            "domain": "math",
        }
    ]


def test_openr1_math(read):
    shared = {
        "question": "What is 2 + 2?",
        "teacher": "DeepSeek-R1",
        "reference_answer": "4",
        "source": "OpenR1-Math-220k/olympiads",
        "finish_reason": "stop",
        "verified_by": "OpenR1-Math-220k: Math-Verify",
        "problem_type": "Algebra",
    }
    first = {"id": "0b7b-11/0", "reasoning": "Two.", "answer": "It is 4.", "correct": True}
    second = {"id": "0b7b-11/1", "reasoning": "Hm.", "answer": "5.", "correct": False}
    assert read(OPENR1) == [shared | first | {"sample": 0}, shared | second | {"sample": 1}]
    assert read.last.quarantine.counts == {UNFINISHED: 1}
    assert read.last.num_in == 1


def test_openr1_math_without_replies(read):
    empty = {key: OPENR1[key] for key in ("problem", "answer", "uuid")} | {"generations": []}
    empty |= {"is_reasoning_complete": []}
    found = read(OPENR1, empty, empty | {"generations": None})
    assert [row["id"] for row in found] == ["0b7b-11/0", "0b7b-11/1"]
    assert read.last.quarantine.counts == {UNFINISHED: 1, NO_REPLY: 2}


def test_replies_that_are_unclear_do_not_end_an_import(read):
    lines = ["<think>R</think>S</think>A", "<think>R</think>Use <think>.", "<think>R</think>A"]
    unnoted = dict.fromkeys(("is_reasoning_complete", "finish_reasons"))
    (row,) = read({**OPENR1, "generations": lines, **unnoted})
    assert row["id"] == "0b7b-11/2"
    assert read.last.quarantine.counts == {UNCLEAR: 2}
    question, reply = OPENTHOUGHTS["conversations"]
    cut = {**reply, "value": reply["value"].removesuffix("<|end_of_solution|>")}
    assert len(read(OPENTHOUGHTS, {**OPENTHOUGHTS, "conversations": [question, cut]})) == 1
    assert read.last.quarantine.counts == {UNENDED: 1}


def test_ids_that_a_set_has_twice(read, caplog):
    found = read(OPENR1, {**OPENR1, "problem": "P"})
    assert [row["id"] for row in found] == ["0b7b-11/0", "0b7b-11/1", "0b7b-11-1/0", "0b7b-11-1/1"]
    assert "2 ids stand twice; row numbers were added" in caplog.text
    found = read(MATH_500, MATH_500, AIME, name="m")
    assert [row["id"] for row in found][:2] == ["test/algebra/1.json", "test/algebra/1.json-1"]


def test_openr1_math_without_verdicts(read):
    row = {**OPENR1, "correctness_math_verify": None, "finish_reasons": None, "uuid": None}
    found = read(row, {**row, "problem": "P"})
    assert [one["id"] for one in found] == ["set-0/0", "set-0/1", "set-1/0", "set-1/1"]
    assert not {"correct", "verified_by", "finish_reason"} & found[0].keys()
    with pytest.raises(UserError, match=r"'finish_reasons': is \['stop'\], not a list of 3"):
        read({**OPENR1, "finish_reasons": ["stop"]})


def test_s1k(read):
    shared = {
        "question": "What is 2 + 2?",
        "reference_answer": "4",
        "source": "s1K-1.1/AI-MO/NuminaMath-CoT/aops_forum",
        "verified_by": "s1K-1.1: its grader",
    }
    assert read(S1K) == [
        shared
        | {
            "id": "set-0/Gemini-2.0-Flash-Thinking",
            "teacher": "Gemini-2.0-Flash-Thinking",
            "reasoning": "Add them.",
            "answer": "5",
            "correct": False,
        },
        shared
        | {
            "id": "set-0/DeepSeek-R1",
            "teacher": "DeepSeek-R1",
            "reasoning": "Two and two.",
            "answer": "It is 4.",
            "correct": True,
        },
    ]


def test_s1k_of_one_teacher_and_a_missing_column(read):
    alone = {key: value for key, value in S1K.items() if not key.startswith("gemini")}
    assert [row["id"] for row in read(alone)] == ["set-0/DeepSeek-R1"]
    assert "correct" not in read(alone | {"deepseek_grade": "Unclear"})[0]
    del alone["deepseek_attempt"]
    with pytest.raises(
        UserError, match="column 'deepseek_attempt': is missing; the format s1k needs"
    ):
        read(alone)


@pytest.mark.parametrize(
    ("solution", "parts"),
    [
        (LIMO["solution"], ("Okay, two.\n\nAnd two more.", "**Final Answer**\n\\boxed{4}")),
        ("Hm.\n\nFinal answer: 4", ("Hm.", "Final answer: 4")),
        ("Hm.\n\nSo it is $\\boxed{4}$.", ("Hm.", "So it is $\\boxed{4}$.")),
        ("<think>Hm.</think>4", ("Hm.", "4")),
        (
            "Final answer: 5?\n\nNo.\n\n### Final Answer\n4",
            ("Final answer: 5?\n\nNo.", "### Final Answer\n4"),
        ),
        ("Hm.\n\nI think that", None),
        ("It is \\boxed{4}.", None),
    ],
)
def test_limo(read, solution, parts):
    whole = {"question": "P", "solution": "R\n\n\\boxed{1}", "answer": "1"}
    found = read({**LIMO, "solution": solution}, whole)
    assert [(row["reasoning"], row["answer"]) for row in found] == [
        *([parts] if parts else []),
        ("R", "\\boxed{1}"),
    ]
    assert {row["teacher"] for row in found} == {"LIMO"}
    assert {row["source"] for row in found} == {"LIMO"}
    assert read.last.quarantine.counts == ({} if parts else {NO_FINAL_ANSWER: 1})


def test_limo_as_questions(read):
    """What recipes/score/limo.yaml asks for: every prompt, whatever its solution looks like."""
    odd = {**LIMO, "question": "P", "solution": "Hm.", "answer": "7"}
    found = read(LIMO, odd, name="LIMO", format="math")
    assert [row["question"] for row in found] == [LIMO["question"], "P"]
    assert [row["reference_answer"] for row in found] == ["4", "7"]
    assert read.last.kind == "questions"


def test_gsm8k(read):
    expected = {
        "id": "train-0",
        "question": "How far?",
        "reference_answer": "1,080",
        "source": "gsm8k",
    }
    assert read(GSM8K, name="train") == [expected]
    assert read.last.kind == "questions"


def test_maths_problems(read):
    assert read(MATH_500, name="MATH-500") == [
        {
            "id": "test/algebra/1.json",
            "question": "What is $2 + 2$?",
            "reference_answer": "4",
            "source": "MATH-500",
            "subject": "Algebra",
            "level": 2,
        }
    ]
    assert read(AIME, name="aime_2024") == [
        {"id": "aime_2024-60", "question": "P?", "reference_answer": "204", "source": "aime_2024"}
    ]
    assert read({"problem": "P", "answer": 7})[0]["reference_answer"] == "7"
    other = {"question": "Q", **{key: MATH_500[key] for key in ("solution", "answer", "level")}}
    assert read(other)[0]["question"] == "Q"


TURNS = [{"role": "user", "content": "P"}, {"role": "assistant", "content": "<think>R</think>4"}]


@pytest.mark.parametrize("question", [{"problem": "P"}, {"question": "P", "solution": "S"}])
def test_maths_problems_with_replies_are_traces(read, question):
    row = {**question, "answer": "4", "level": 2, "messages": TURNS}
    (found,) = read(row, teacher="t")
    assert (found["question"], found["reasoning"], found["answer"]) == ("P", "R", "4")
    assert found["level"] == 2
    assert read.last.formats == ["messages"]
    if "problem" in question:
        assert found["reference_answer"] == "4"


@pytest.mark.parametrize(
    "reply",
    [
        {"response": "R</think>4"},
        {"reasoning": "R", "teacher": "t"},
        {"conversations": "R"},
        {"responses": ["R</think>4"]},
        {"finish_reason": "stop"},
    ],
)
def test_no_reply_beside_a_maths_problem_is_passed_over(read, reply):
    with pytest.raises(UserError, match="column '(question|conversations)': is"):
        read({"problem": "P", "answer": "4", **reply}, teacher="t")


def test_mip_overthinking(read):
    rows = [
        {**MIP, "model_answer": "Okay. So 540.</think>\n\nIt is 540."},
        {**MIP, "model_answer": "think\nOkay.\nanswer\nAnswer: 540."},
    ]
    found = read(*rows, name="response", teacher="s1.1-32B")
    assert found[0] == {
        "id": "response-0/s1.1-32B",
        "question": "How far?",
        "teacher": "s1.1-32B",
        "reasoning": "Okay. So 540.",
        "answer": "It is 540.",
        "reference_answer": "540",
        "source": "mip_overthinking",
    }
    assert (found[1]["reasoning"], found[1]["answer"]) == ("Okay.", "Answer: 540.")
    reply = {"deepseek-reasoner (question)": "Okay.</think>540", "insufficient_question": "?"}
    assert read({**MIP, **reply})[0]["id"] == "set-0/DeepSeek-R1"
    with pytest.raises(UserError, match="'teacher': is missing; give the teacher's name"):
        read(rows[0])


def test_a_format_that_is_given_wins(read):
    row = {"question": "Q", "answer": "#### 4", "subject": "Algebra"}
    with pytest.raises(UserError, match="'teacher': is missing"):
        read(row)
    assert read(row, format="gsm8k")[0]["reference_answer"] == "4"
    with pytest.raises(UserError, match="column 'model_answer': is missing; the format mip"):
        read(row, format="mip_overthinking", teacher="t")
    with pytest.raises(UserError, match="column 'conversations': is missing; the format openth"):
        read(row, format="openthoughts")
    with pytest.raises(UserError, match="'gemini_thinking_trajectory': is missing; the format s1k"):
        read({"question": "Q", "solution": "4"}, format="s1k")
    with pytest.raises(UserError, match="format is 'alpaca'; there are: natural_reasoning, "):
        read(row, format="alpaca")
