"""The most and the least natural steps, by hand."""

import pyarrow as pa
import pytest

from nt_lightning.student.naturalness import extremes
from nt_lightning.student.naturalness.extremes import extreme_steps
from nt_lightning.traces.pool import Pool, write_pool
from nt_lightning.traces.scores import Scores, scores_folder, write_scores

STEPS = ["One goes. ", "Two goes. ", "Three goes. ", "Four goes."]
SCORES = [
    [-1.0, -2.0, -3.0, -0.5],
    None,  # not scored
    [-9.0, -0.1, -2.0, -4.0],  # its best step has too few tokens
    [-1.0, -1.0, float("nan"), -1.0],
]


class Encoder:
    """Only its text is asked for."""

    def text(self, reasoning, answer):
        return f"{reasoning}\n\n{answer}", (0, len(reasoning))


@pytest.fixture
def scored(tmp_path):
    rows = range(len(SCORES))
    table = {"id": [f"t{n}" for n in rows], "question": ["q" * 500] * 4, "teacher": ["a"] * 4}
    table |= {"reasoning": ["".join(STEPS)] * 4, "answer": ["7"] * 4}
    pool = write_pool(pa.table(table), tmp_path / "pool", {})
    starts = [0, 10, 20, 32]
    steps = pa.table(
        {
            "id": table["id"],
            "step_starts": pa.array([starts] * 4, pa.list_(pa.int32())),
            "step_tokens": pa.array([[5, 5, 5, 5]] * 2 + [[5, 3, 5, 5]] + [[5] * 4]),
            "lalp_1": pa.array(SCORES, pa.list_(pa.float32())),
        }
    )
    folder = scores_folder(pool.folder, "k")
    write_scores(folder, pa.table({"id": table["id"], "lalp_1": [0.0] * 4}), [steps], {})
    return pool, Scores(pa.table({}), {}, folder)


def test_one_of_each_response_best_first(scored):
    pool, scores = scored
    found = extreme_steps(Pool(pool.folder), scores, Encoder(), "lalp_1")
    most = [(one["id"], one["step"], one["score"]) for one in found["most"]]
    assert most == [("t0", 4, -0.5), ("t3", 1, -1.0), ("t2", 3, -2.0)]
    least = [(one["id"], one["step"], one["score"]) for one in found["least"]]
    assert least == [("t2", 1, -9.0), ("t0", 3, -3.0), ("t3", 1, -1.0)]


def test_a_step_stands_in_its_context(scored, monkeypatch):
    pool, scores = scored
    one = extreme_steps(Pool(pool.folder), scores, Encoder(), "lalp_1")["least"][1]
    assert (one["before"], one["text"]) == ("One goes. Two goes. ", "Three goes. ")
    assert one["behind"] == "Four goes.\n\n7"
    assert (one["steps"], one["tokens"], one["teacher"]) == (4, 5, "a")
    assert one["question"] == "q" * 400 + "…"
    monkeypatch.setattr(extremes, "MAX_CHARS", 5)
    one = extreme_steps(Pool(pool.folder), scores, Encoder(), "lalp_1")["least"][1]
    assert (one["before"], one["text"], one["behind"]) == ("…oes. ", "Three…", "Four …")


def test_no_more_than_are_shown(scored, monkeypatch):
    pool, scores = scored
    monkeypatch.setattr(extremes, "SHOWN", 1)
    found = extreme_steps(Pool(pool.folder), scores, Encoder(), "lalp_1")
    assert [len(ones) for ones in found.values()] == [1, 1]
