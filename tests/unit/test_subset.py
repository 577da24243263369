"""``select``: the traces of a selection as a pool, and its overlap with others."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning import subset
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.subset import overlap, read_selected, write_subset
from nt_lightning.traces.pool import Pool, write_pool
from tests.tiny import tiny_rows


@pytest.fixture
def pool(tmp_path):
    """Sixty traces in nine shards, with a column that the record does not know."""
    table = tiny_rows(60).append_column("score", pa.array([n / 4 for n in range(60)]))
    return write_pool(table, tmp_path / "pool", {}, rows_per_shard=7)


def select(pool, output, *compare, count=20, overwrite=False, **arguments):
    data = RandomSelection(str(pool.folder), num_traces=count, num_val=5, seed=3, **arguments)
    write_subset(data, Path(output), [str(path) for path in compare], overwrite)
    return json.loads((Path(output) / "selection" / "selection.json").read_text())


def test_overlap_by_hand():
    """One shared trace of three and two is one of four; of three and one of them, one of three."""
    found = overlap(["a", "b", "c"], [{"1", "2", "3"}, {"3", "4"}, {"1"}])
    assert found == {
        "names": ["a", "b", "c"],
        "sizes": [3, 2, 1],
        "shared": [[3, 1, 1], [1, 2, 0], [1, 0, 1]],
        "jaccard": [[1.0, 0.25, 0.33333], [0.25, 1.0, 0.0], [0.33333, 0.0, 1.0]],
    }


def test_the_written_pool_holds_the_selected_rows_with_all_columns(pool, tmp_path):
    audit = select(pool, tmp_path / "out")
    selected = pq.read_table(tmp_path / "out" / "selection" / "selected.parquet")
    ids = selected["id"].to_pylist()
    assert len(ids) == len(set(ids)) == audit["selected"] == 20
    assert read_selected(tmp_path / "out") == set(ids)
    assert audit["ids_sha256"] == hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    written = Pool(tmp_path / "out")
    assert written.read(["id"])["id"].to_pylist() == ids == sorted(ids)
    assert written.column_names == pool.column_names
    rows = {row["id"]: row for row in pool.read().to_pylist()}
    assert written.read().to_pylist() == [rows[name] for name in ids]
    lineage = written.manifest["lineage"]
    assert (lineage["command"], lineage["pool"]) == ("select", pool.digest)
    assert (lineage["selection"], lineage["seed"]) == ("RandomSelection", 3)
    assert "overlap" not in audit
    assert {path.name for path in (tmp_path / "out" / "selection").iterdir()} >= {
        "selected.parquet",
        "selection.json",
        "selection.png",
    }


def test_shards_without_a_selected_trace_are_passed_over(pool, tmp_path):
    select(pool, tmp_path / "out", count=2)
    assert len(Pool(tmp_path / "out")) == 2


def test_the_overlap_with_pools_and_runs(pool, tmp_path, capsys):
    """Selections of one seed are nested: 10 of 20, and a run that took other traces."""
    select(pool, tmp_path / "small", count=10)
    run = tmp_path / "run"
    run.mkdir()
    pq.write_table(pa.table({"id": ["other", "traces"]}), run / "selected.parquet")
    capsys.readouterr()
    found = select(pool, tmp_path / "out", tmp_path / "small", run)["overlap"]
    assert found == {
        "names": ["out", "small", "run"],
        "sizes": [20, 10, 2],
        "shared": [[20, 10, 0], [10, 10, 0], [0, 0, 2]],
        "jaccard": [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]],
    }
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "out (20) small (10) 10 100.0 % 0.500" in shown
    assert "small (10) run (2) 0 0.0 % 0.000" in shown


@pytest.mark.parametrize("num_compared", [0, 1, 2])
def test_how_to_compare_is_said_where_little_is(pool, tmp_path, capsys, num_compared):
    others = [tmp_path / f"other{n}" for n in range(num_compared)]
    for other in others:
        select(pool, other, count=10)
    capsys.readouterr()
    select(pool, tmp_path / "out", *others)
    last = capsys.readouterr().out.splitlines()[-1]
    assert ("--compare A or --compare [A,B]" in last) == (num_compared < 2)


def test_tokens_and_their_budget_are_in_the_last_line(pool, tmp_path, capsys):
    counted = pool.read().append_column("response_tokens", pa.array(range(10, 70)))
    source = write_pool(counted, tmp_path / "counted", {})
    data = RandomSelection(str(source.folder), num_tokens=300, seed=3)
    write_subset(data, tmp_path / "out", [], False)
    chosen = Pool(tmp_path / "out").read(["response_tokens"])["response_tokens"].to_pylist()
    assert 0 < sum(chosen) <= 300
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith(f"{tmp_path / 'out'}: "))
    assert f"{len(chosen)} traces with {sum(chosen)} of at most 300 tokens; " in line


def test_pool_and_audit_appear_at_once(pool, tmp_path, monkeypatch):
    """A crash while the audit is written leaves nothing, or the pool that was there, with its."""

    def crash(audit, folder):
        raise OSError("the disk is full")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(subset, "write_report", crash)
        with pytest.raises(OSError, match="the disk is full"):
            select(pool, out)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]
    select(pool, out, count=10)
    monkeypatch.setattr(subset, "write_report", crash)
    with pytest.raises(OSError, match="the disk is full"):
        select(pool, out, overwrite=True)
    assert len(Pool(out)) == len(read_selected(out)) == 10


def test_folders_of_one_name_are_told_apart(pool, tmp_path):
    one, two = tmp_path / "a" / "out", tmp_path / "b" / "out"
    select(pool, one, count=10)
    select(pool, two, count=5)
    found = select(pool, tmp_path / "out", one, two)["overlap"]
    assert found["names"] == [str(tmp_path / "out"), str(one), str(two)]
    assert found["sizes"] == [20, 10, 5]


def test_nothing_is_overwritten_unasked(pool, tmp_path):
    out = tmp_path / "out"
    select(pool, out, count=10)
    with pytest.raises(UserError, match=f"output: {out} holds a pool; give --overwrite true"):
        select(pool, out)
    found = select(pool, out, out, overwrite=True)["overlap"]
    assert found["sizes"] == [20, 10]  # the new one, and the one that it replaces
    assert len(Pool(out)) == 20
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(UserError, match="is no pool and not empty"):
        select(pool, tmp_path / "notes", overwrite=True)


def test_the_pool_itself_is_not_replaced(pool):
    with pytest.raises(UserError, match=r"is the pool that is selected from; give another folder"):
        select(pool, pool.folder, overwrite=True)
    assert len(Pool(pool.folder)) == 60


@pytest.mark.parametrize("other", ["pool", "nothing"])
def test_what_has_no_selection_cannot_be_compared(tmp_path, pool, other):
    with pytest.raises(
        UserError, match=f"compare: .*{other} holds no selected.parquet; allowed: a"
    ):
        select(pool, tmp_path / "out", tmp_path / other)
    assert not (tmp_path / "out").exists()
