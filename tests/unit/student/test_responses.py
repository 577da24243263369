"""One file of all ranks' responses, in the order of the pool."""

import json

import pytest

from nt_lightning.data.questions import QuestionBatch
from nt_lightning.errors import UserError
from nt_lightning.evaluation.generation import Generation
from nt_lightning.student.responses import ResponseFile

ODD = "one\u2028two\u2029three\x85four\x0bfive\nsix\rseven"


def respond(folder, rank, *ids):
    file = ResponseFile(folder, rank)
    for row_id in ids:
        done = [Generation(f"{row_id} {ODD}", 3, "stop")]
        file.append(QuestionBatch([row_id], [f"Q{ODD}"]), ["P"], "think", done)
    return file


@pytest.mark.parametrize("ranks", [["abcde"], ["ace", "bd"], ["ad", "be", "c"], ["a", "b", ""]])
def test_ranks_take_turns_and_only_a_newline_ends_a_line(tmp_path, ranks):
    files = [respond(tmp_path, rank, *ids) for rank, ids in enumerate(ranks)]
    path = files[0].merge(len(ranks))
    rows = [json.loads(line) for line in path.read_bytes().removesuffix(b"\n").split(b"\n")]
    assert [row["id"] for row in rows] == sorted("".join(ranks))
    assert [row["response"] for row in rows] == [f"{row['id']} {ODD}" for row in rows]
    assert {row["question"] for row in rows} == {f"Q{ODD}"}
    assert [file.name for file in tmp_path.iterdir()] == ["responses.jsonl"]


def test_no_rank_wrote_anything(tmp_path):
    file = respond(tmp_path, 0)
    file.part.touch()
    with pytest.raises(UserError, match="there was no question to respond to"):
        file.merge(2)
    assert not (tmp_path / "responses.jsonl").exists()
