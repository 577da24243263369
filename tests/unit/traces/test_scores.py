"""Scores on disk: found by the pool's traces, every byte verified, higher where better."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.data.score_warnings import another_student
from nt_lightning.errors import UserError
from nt_lightning.models import weights_fingerprint
from nt_lightning.traces.scores import (
    Scores,
    find_scores,
    open_scores,
    read_steps,
    score_command,
    scores_folder,
    write_scores,
)
from tests.scored import add_scores, scored_pool

SCORES = {
    "galp": [-1.0, -2.0, None],
    "rsr": [3.0, float("nan"), 5.0],
    "ifd": [0.9, 1.5, None],
    "clipped_rank_sum": [30.0, 1.0, 50.0],
    "surprisal_sum": [10.0, 1.0, 10.0],
    "unscored_reason": [None, None, "too long"],
}


@pytest.fixture
def pool(tmp_path):
    names = SCORES.keys()
    rows = [dict(zip(names, one, strict=True)) for one in zip(*SCORES.values(), strict=True)]
    return scored_pool(tmp_path / "pool", [("q", f"t{n}", row) for n, row in enumerate(rows)])


def test_scores_are_found_with_their_names(pool):
    found = find_scores(pool)
    assert isinstance(found, Scores)
    assert found.folder == scores_folder(pool.folder, "0") == pool.folder / "columns" / "scores-0"
    assert found.names == ["length", "galp", "rsr", "ifd"]
    assert found.info["model_name"] == "student"
    assert find_scores(pool, str(found.folder)).table["galp"] == found.table["galp"]
    assert read_steps(found.folder, ["galp"])["galp"].to_pylist() == [[-1.0]] * 3


def test_higher_is_better(pool):
    found = find_scores(pool)
    np.testing.assert_array_equal(found.better("galp"), [-1, -2, np.nan])
    np.testing.assert_array_equal(found.better("rsr"), [-3, np.nan, -5])
    np.testing.assert_array_equal(found.better("ifd"), [0.9, np.nan, np.nan])
    np.testing.assert_array_equal(found.better("length"), [20, 20, 20])
    with pytest.raises(UserError, match="score 'lalp_9' is not in .*; it has: length, galp, rsr,"):
        found.better("lalp_9")


def test_ratios(pool):
    found = find_scores(pool)
    galp, rsr = found.ratio("galp"), found.ratio("rsr")
    np.testing.assert_array_equal(galp.numerator, [-1, -2, np.nan])
    np.testing.assert_array_equal(galp.denominator, [1, 1, np.nan])
    np.testing.assert_array_equal(rsr.numerator, [-30, np.nan, -50])
    np.testing.assert_array_equal(rsr.denominator, [10, np.nan, 10])
    bare = found._replace(table=found.table.drop_columns(["surprisal_sum"]))
    with pytest.raises(UserError, match="'rsr' without its part 'surprisal_sum'; score again"):
        bare.ratio("rsr")


def test_none_is_an_error_with_the_command(pool):
    shutil.rmtree(pool.folder / "columns")
    with pytest.raises(UserError, match="has no scores; make them with") as raised:
        find_scores(pool)
    assert score_command(pool.folder) in str(raised.value)
    with pytest.raises(UserError, match="nowhere holds no scores: there is no such folder"):
        find_scores(pool, "nowhere")


def test_several_are_named_and_one_can_be_told(pool):
    other = add_scores(pool, {"galp": [1.0, 2.0, 3.0]}, key="1", student="another")
    with pytest.raises(
        UserError, match=r"several scores; name .*\n.*-0 \(student, 20.*\)\n.*\(another, .*\)"
    ):
        find_scores(pool)
    assert find_scores(pool, str(other)).better("galp").tolist() == [1, 2, 3]


def test_those_of_the_student(pool, tmp_path):
    other = add_scores(pool, {"galp": [1.0, 2.0, 3.0]}, key="1", student=str(tmp_path / "mine"))
    assert find_scores(pool, model_name="student").folder == scores_folder(pool.folder, "0")
    assert find_scores(pool, model_name=f"{tmp_path}/./mine/").folder == other
    with pytest.raises(UserError, match="no scores by 'x y', the student") as raised:
        find_scores(pool, model_name="x y")
    assert score_command(pool.folder, "x y").endswith("--model.model_name 'x y'")
    assert score_command(pool.folder, "x y") in str(raised.value)
    add_scores(pool, {"galp": [0.0] * 3}, key="2")
    with pytest.raises(UserError, match=r"several scores") as raised:
        find_scores(pool, model_name="student")
    assert str(other) not in str(raised.value)


def test_what_tells_several_apart_is_said(pool):
    own = {"splitter": {"class": "FixedTokenSteps", "sources": ["0f"], "arguments": {"size": 8}}}
    add_scores(pool, {"galp": [0.0] * 3}, key="1", dtype="float32", **own)
    own["splitter"] = {**own["splitter"], "arguments": {"size": 9}}
    add_scores(pool, {"galp": [0.0] * 3}, key="2", dtype="float32", **own)
    shutil.rmtree(scores_folder(pool.folder, "0"))
    with pytest.raises(UserError) as raised:
        find_scores(pool)
    first, second = str(raised.value).splitlines()[1:]
    assert "scores-1 (student, splitter class=FixedTokenSteps arguments=size=8, 20" in first
    assert "arguments=size=9" in second
    assert "float32" not in first + second


def test_scores_of_older_weights(pool, tmp_path):
    """The student's folder has been written again, as by a second export."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"old")
    known = weights_fingerprint(str(folder))
    made = add_scores(pool, {}, key="1", student=str(folder), model_fingerprint=known)
    assert find_scores(pool, model_name=str(folder)).folder == made
    (folder / "model.safetensors").write_bytes(b"trained")
    said = "before the weights of '.*mine' changed; make new ones with\n.*\n.*\n.*scores-1 "
    with pytest.raises(UserError, match=said):
        find_scores(pool, model_name=str(folder))
    info = find_scores(pool, str(made), str(folder)).info
    assert [one.code for one in another_student(info, str(folder))] == ["other_weights"]
    known = weights_fingerprint(str(folder))
    new = add_scores(pool, {}, key="2", student=str(folder), model_fingerprint=known)
    assert find_scores(pool, model_name=str(folder)).folder == new
    assert not list(another_student(find_scores(pool, str(new)).info, str(folder)))


def test_scores_of_other_traces(pool, tmp_path):
    other = scored_pool(tmp_path / "other", [("q", "t", {"galp": -1.0})])
    folder = scores_folder(other.folder, "0")
    with pytest.raises(UserError, match="has scores of other traces than those of .*pool"):
        find_scores(pool, str(folder))
    shutil.move(folder, scores_folder(pool.folder, "1"))  # is passed over in the pool
    assert find_scores(pool).folder == scores_folder(pool.folder, "0")


def test_rows_in_another_order(pool):
    found = find_scores(pool)
    table = found.table.take(pa.array([1, 0, 2]))
    info = {"model_name": "student", "pool_digest": pool.digest}
    write_scores(found.folder, table, [read_steps(found.folder)], info)
    with pytest.raises(UserError, match="has its rows in another order than"):
        find_scores(pool)


@pytest.mark.parametrize("name", ["info.json", "scores.parquet", "steps.parquet"])
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_damage_is_found(pool, name, how):
    file = scores_folder(pool.folder, "0") / name
    if how == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-9] ^= 1
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        open_scores(file.parent)


def test_written_whole_or_not_at_all(pool):
    def broken():
        yield pa.table({"id": ["a"]})
        raise OSError("the disk is full")

    folder = scores_folder(pool.folder, "0")
    before = pq.read_table(folder / "scores.parquet")
    with pytest.raises(OSError, match="the disk is full"):
        write_scores(folder, before, broken(), {"model_name": "x", "pool_digest": pool.digest})
    assert open_scores(folder).info["model_name"] == "student"
    assert [path.name for path in folder.parent.iterdir()] == ["scores-0"]
