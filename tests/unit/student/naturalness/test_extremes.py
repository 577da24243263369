"""The most and the least natural steps, by hand."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.student.naturalness import extremes
from nt_lightning.student.naturalness.extremes import extreme_steps
from nt_lightning.traces import scores as traces_scores
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
    pool = write_pool(pa.table(table), tmp_path / "pool", {}, rows_per_shard=3)
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
    parts = [steps.slice(0, 1), steps.slice(1, 1), steps.slice(2)]
    write_scores(folder, pa.table({"id": table["id"], "lalp_1": [0.0] * 4}), parts, {})
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


def test_equal_steps_stand_in_the_order_of_the_pool_whatever_the_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(extremes, "SHOWN", 3)
    pool, scores = pool_of(tmp_path, [[-1.0, -1.0]] * 7, [[5, 5]] * 7, part=2)
    found = extreme_steps(pool, scores, Encoder(), "lalp_1")
    for ones in found.values():
        assert [(one["id"], one["step"]) for one in ones] == [("t0", 1), ("t1", 1), ("t2", 1)]


def test_neither_texts_nor_steps_are_in_memory_as_a_whole(scored, monkeypatch):
    """Only shards and row groups are read: the texts of a pool may be more than a column holds."""
    pool, scores = scored
    sizes = []
    read = pq.ParquetFile.read_row_group

    def counted(self, *args, **options):
        table = read(self, *args, **options)
        sizes.append(len(table))
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(Pool, "read", None)
    monkeypatch.setattr(traces_scores, "read_steps", None)
    assert len(extreme_steps(pool, scores, Encoder(), "lalp_1")["most"]) == 3
    assert sizes == [1, 1, 2]


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ([None, None], [[5, 5], [5, 5]]),  # no response has a score
        ([[-1.0, -2.0], None], [[3, 3], [5, 5]]),  # all steps are too short
        ([[float("nan"), float("-inf")], []], [[5, 5], []]),
    ],
)
def test_no_step_to_show(tmp_path, values, tokens):
    pool, scores = pool_of(tmp_path, values, tokens)
    assert extreme_steps(pool, scores, Encoder(), "lalp_1") == {"most": [], "least": []}


def pool_of(tmp_path, values, tokens, part=100):
    """Responses with these scores of their steps, written in parts of so many."""
    names = [f"t{n}" for n in range(len(values))]
    table = {"id": names, "question": names, "teacher": names, "reasoning": names}
    pool = write_pool(
        pa.table({**table, "answer": ["One goes. "] * len(names)}), tmp_path / "p", {}
    )
    steps = pa.table(
        {
            "id": names,
            "step_starts": pa.array([[0, 2]] * len(names)),
            "step_tokens": pa.array(tokens),
            "lalp_1": pa.array(values, pa.list_(pa.float32())),
        }
    )
    folder = scores_folder(pool.folder, "k")
    parts = [steps.slice(first, part) for first in range(0, len(names), part)]
    write_scores(folder, pa.table({"id": names}), parts, {})
    return pool, Scores(pa.table({}), {}, folder)
