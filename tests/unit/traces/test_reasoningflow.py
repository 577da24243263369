"""Annotated traces: labels to strategies, nodes to steps, on rows written by hand."""

import copy
import json

import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.adapters import read_jsonl

RESPONSE = "<think>\nPlan. Check. No.\n</think>\nIt is 4."
#           0      8     14     21  25        35


def node(name, start, end, source="response", label="reasoning"):
    return {"id": name, "start": start, "end": end, "label": label, "source": source}


def edge(to, label, origin="ctx0"):
    return {"source_node_id": origin, "dest_node_id": to, "label": label}


ROW = {
    "_path": "data/v1_human_D/sums_0_DeepSeek-R1.json",
    "doc_id": "sums_0_DeepSeek-R1",
    "question": "2 + 2?",
    "response": RESPONSE,
    "metadata": {
        "generator": "DeepSeek-R1",
        "annotator": "some-model",
        "domain": "sums",
        "topic": "math",
        "correct_answer": "4",
        "correctness": True,
        "is_human_annotated": False,
    },
    "nodes": [
        node("ctx0", 0, 6, "question", "context"),
        node("resp0", 0, 8),
        node("resp1", 8, 14),
        node("resp2", 14, 21),
        node("resp3", 21, 25),
        node("resp4", 25, 34),
        node("resp5", 34, 42, label="conclusion"),
    ],
    "edges": [
        edge("resp1", "plan:decompose"),
        edge("resp2", "plan:verify", "resp1"),
        edge("resp3", "plan:verify", "resp2"),
        edge("resp5", "reason:restate", "resp3"),
    ],
}


def changed(**changes):
    return {**copy.deepcopy(ROW), **changes}


def with_labels(*labels):
    return changed(edges=[edge("resp2", label) for label in labels])


def with_metadata(**changes):
    return changed(metadata={**ROW["metadata"], **changes})


@pytest.fixture
def read(tmp_path):
    def read(*rows, **options):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_jsonl(path, **options).to_pylist()

    return read


def test_an_annotated_trace(read):
    assert read(ROW) == [
        {
            "id": "v1_human_D/sums_0_DeepSeek-R1",
            "question": "2 + 2?",
            "teacher": "DeepSeek-R1",
            "reasoning": "Plan. Check. No.",
            "answer": "It is 4.",
            "reference_answer": "4",
            "source": "sums",
            "domain": "math",
            "reasoning_strategies": ["plan:decompose", "plan:verify"],
            "num_steps": 3,
            "correct": True,
            "annotation": "v1_human_D",
        }
    ]


def test_two_annotations_of_a_response_are_two_traces(read):
    other = changed(_path="data/v1_llm_x/sums_0_DeepSeek-R1.json")
    assert [row["id"] for row in read(ROW, other)] == [
        "v1_human_D/sums_0_DeepSeek-R1",
        "v1_llm_x/sums_0_DeepSeek-R1",
    ]


def test_what_a_row_may_lack(read):
    row = {key: ROW[key] for key in ("question", "response", "nodes", "edges")}
    (read_back,) = read({**row, "difficulty": 3}, teacher="r1")
    assert (read_back["id"], read_back["teacher"]) == ("in-0", "r1")
    assert read_back["difficulty"] == 3
    (read_back,) = read({**row, "doc_id": "a", "metadata": {"annotator": "m"}}, teacher="r1")
    assert (read_back["id"], read_back["annotation"]) == ("a", "m")
    (unverified,) = read(with_metadata(correct_answer="", correctness=None))
    assert "reference_answer" not in unverified
    assert "correct" not in unverified


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["plan:backtrack", "plan:backtrack"], ["plan:backtrack"]),
        ([" Plan : Backtrack "], ["plan:backtrack"]),
        (["reason:elaborate_fact", "Reason:Elaborate Fact"], ["reason:elaborate-fact"]),
        (["reasoning:exemplify"], ["reason:exemplify"]),
        (["reason:infer", "reasoning:infer", "reason:execute", "plan:proceed"], []),
        (["reflect:positive", "reflect:negative"], ["reflect:negative", "reflect:positive"]),
        (["explore:Two Ways"], ["explore:two-ways"]),
        (["", None, "reasoning", "plan:", ":verify", 5], []),
    ],
)
def test_labels(read, labels, names):
    assert read(with_labels(*labels))[0]["reasoning_strategies"] == names


def test_a_response_that_was_cut_off_is_dropped(read, tmp_path):
    other = changed(_path="a/b.json", response="<think>Plan.")
    assert len(read(ROW, other)) == 1
    (left_out,) = (tmp_path / "in.jsonl.quarantine.jsonl").read_text().splitlines()
    assert "column 'response': <think> is never closed" in json.loads(left_out)["reason"]


def test_labels_out_of_the_vocabulary_are_reported_once(read, caplog):
    read(with_labels("plan:verify"))
    assert not caplog.messages
    read(
        with_labels("explore:widely", "explore:widely", "context", "plan:verify"),
        changed(_path="a/b.json", edges=[edge("resp1", "logic:premise")]),
    )
    (told,) = caplog.messages
    assert "kept as strategies: 'explore:widely' 2, 'logic:premise' 1; left out" in told
    assert told.endswith("no family is named: 'context' 1")


def test_a_response_without_thinking_is_all_answer_and_all_steps(read):
    row = with_metadata(generator="Qwen2.5-32B-Instruct")
    text = "Plan. Check. No. It is 4."
    row |= {
        "response": text,
        "nodes": [node("resp1", 0, 6), node("resp2", 6, 13), node("resp5", 13, 25)],
        "edges": [edge("resp2", "plan:verify"), edge("resp5", "reason:restate")],
    }
    (found,) = read(row)
    assert (found["reasoning"], found["answer"], found["num_steps"]) == ("", text, 3)
    assert found["reasoning_strategies"] == ["plan:verify", "reason:restate"]


def test_a_missing_opening_tag(read):
    row = with_metadata(generator="QwQ-32B")
    row |= {
        "response": "Plan. No.</think>4",
        "nodes": [node("resp1", 0, 6), node("resp2", 6, 17), node("resp3", 17, 18)],
        "edges": [edge("resp2", "plan:backtrack"), edge("resp3", "plan:verify")],
    }
    (found,) = read(row)
    assert (found["reasoning"], found["num_steps"]) == ("Plan. No.", 2)
    assert found["reasoning_strategies"] == ["plan:backtrack"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            changed(response="Plan."),
            "column 'response': has no end of thinking, but DeepSeek-R1 thinks",
        ),
        (changed(response=5), "column 'response': is 5, not text"),
        (changed(metadata="x"), "column 'metadata': is 'x', not an object"),
        (changed(nodes={}), "column 'nodes': is {}, not a list of objects"),
        (changed(nodes=[node("a", "0", 5)]), "not a node with whole start and end"),
        (changed(nodes=[node(None, 8, 14)]), "column 'id': is null"),
        (changed(edges=[1]), "column 'edges': is [1], not a list of objects"),
        (changed(edges=[{"label": "plan:verify"}]), "column 'dest_node_id': is null"),
        (with_metadata(correctness="yes"), "column 'correct': is 'yes', not true or false"),
        (with_metadata(generator=None), "column 'teacher': is missing; give the teacher's name"),
    ],
)
def test_a_bad_row_is_named(read, row, problem):
    with pytest.raises(UserError) as refused:
        read(changed(_path="a/b.json"), row)
    assert "row 1 (counted from 0): " in str(refused.value)
    assert problem in str(refused.value)
