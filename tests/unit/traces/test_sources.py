"""Files, folders and sets of the Hub: which rows they have, and what is not clear."""

import datetime
import decimal
import gzip
import json
import os

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.errors import UserError
from nt_lightning.files import sha256_file
from nt_lightning.traces import tables
from nt_lightning.traces.importing import Rows
from nt_lightning.traces.sources import open_source

ROW = {"question": "Q", "response": "A"}


def everything(columns):
    return columns


def rows_of(source):
    return list(source.rows(everything))


def parquet(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in.json", "in.json.gz"])
def test_a_list(tmp_path, name):
    path = tmp_path / name
    text = "\ufeff" + json.dumps([ROW, 5, {"question": "\u2028"}], indent=1)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    source = open_source(str(path))
    found = rows_of(source)
    assert found[0] == (0, ROW)
    assert str(found[1][1]) == "is no JSON object"
    assert list(source.texts({1, 2})) == [(1, "5"), (2, '{"question": "\u2028"}')]
    assert source.name == "in"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="is no JSON|is no whole gzip"):
        rows_of(source)


def test_a_file_of_lines_may_be_called_json(tmp_path):
    lines(tmp_path / "in.json", ROW, ROW)
    assert rows_of(open_source(str(tmp_path / "in.json"))) == [(0, ROW), (1, ROW)]


def test_blank_lines_count(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(f"\n{json.dumps(ROW)}\n\n{{\n")
    source = open_source(str(path))
    (first, row), (second, problem) = rows_of(source)
    assert (first, row, second) == (1, ROW, 3)
    assert str(problem).startswith("is no JSON")
    assert str(source.place(3)) == f"{path}: row 3 (counted from 0)"
    assert list(source.texts({3})) == [(3, "{")]
    digest = sha256_file(path)
    assert source.lineage() == {"input": str(path), "input_sha256": digest}


def test_parquet_has_values_of_json(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tables, "ROWS_AT_A_TIME", 2)
    noon = datetime.datetime(2025, 1, 2, 12)
    row = {
        "question": "Q",
        "when": noon,
        "cost": decimal.Decimal("0.5"),
        "raw": b"x",
        "image": {"bytes": b"x", "path": "p"},
        "turns": [{"at": noon, "n": 1}],
        "kind": "a",
    }
    table = pa.Table.from_pylist([row] * 5)
    kinds = table["kind"].combine_chunks().dictionary_encode()
    table = table.set_column(table.column_names.index("kind"), "kind", kinds)
    names = pa.array([[("k", 1)]] * 5, pa.map_(pa.string(), pa.int64()))
    pq.write_table(table.append_column("names", names), tmp_path / "in.parquet")
    source = open_source(str(tmp_path / "in.parquet"))
    found = rows_of(source)
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    assert found[3][1] == {
        "question": "Q",
        "when": "2025-01-02T12:00:00",
        "cost": 0.5,
        "turns": [{"at": "2025-01-02T12:00:00", "n": 1}],
        "kind": "a",
        "names": [["k", 1]],
    }
    assert "in.parquet: columns of bytes are left out: raw, image" in caplog.text
    ((number, text),) = source.texts({4})
    assert (number, json.loads(text)["turns"]) == (4, found[4][1]["turns"])


def test_columns_that_are_not_chosen_stay_on_the_disk(tmp_path):
    parquet(tmp_path / "in.parquet", {**ROW, "test_cases": "long"})
    source = open_source(str(tmp_path / "in.parquet"))
    assert list(source.rows(lambda columns: columns[:1])) == [(0, {"question": "Q"})]


def test_damaged_parquet(tmp_path):
    (tmp_path / "in.parquet").write_text("no")
    with pytest.raises(UserError, match=r"in\.parquet: is no whole Parquet file: "):
        open_source(str(tmp_path / "in.parquet"))


def test_a_file_has_no_splits(tmp_path):
    lines(tmp_path / "in.jsonl", ROW)
    with pytest.raises(UserError, match=r"split: .*in\.jsonl is one file and has none"):
        open_source(str(tmp_path / "in.jsonl"), split="test")


# -- folders ---------------------------------------------------------------------------------------


def test_a_download_of_a_set(tmp_path):
    folder = tmp_path / "OpenR1-Math-220k"
    parquet(folder / "data" / "train-00000-of-00002.parquet", ROW, ROW)
    parquet(folder / "data" / "train-00001-of-00002.parquet", {"question": "P", "response": "A"})
    parquet(folder / "data" / "test-00000-of-00001.parquet", ROW)
    parquet(folder / ".cache" / "huggingface" / "train.parquet", ROW)
    (folder / "README.md").write_text("card")
    source = open_source(str(folder))
    assert [(number, row["question"]) for number, row in rows_of(source)] == [
        (0, "Q"),
        (1, "Q"),
        (2, "P"),
    ]
    assert source.name == "OpenR1-Math-220k"
    second = folder / "data" / "train-00001-of-00002.parquet"
    assert str(source.place(2)) == f"{second}: row 0 (counted from 0)"
    assert [number for number, _ in source.texts({0, 2})] == [0, 2]
    assert source.lineage()["input_files"]["data/train-00001-of-00002.parquet"] == sha256_file(
        second
    )
    assert len(rows_of(open_source(str(folder), split="test"))) == 1
    assert open_source(str(folder / "data")).name == "OpenR1-Math-220k"
    with pytest.raises(UserError, match="no files of the split 'validation'; .* are: test, train"):
        open_source(str(folder), split="val")


def test_configurations_in_folders(tmp_path):
    parquet(tmp_path / "main" / "train-00000-of-00001.parquet", ROW)
    parquet(tmp_path / "socratic" / "train-00000-of-00001.parquet", ROW, ROW)
    with pytest.raises(UserError, match=r"in several folders \(main, socratic\); give one of them"):
        open_source(str(tmp_path))
    assert len(rows_of(open_source(str(tmp_path), "socratic"))) == 2
    assert len(rows_of(open_source(str(tmp_path / "main")))) == 1
    with pytest.raises(UserError, match="no Parquet or JSONL files in a folder all"):
        open_source(str(tmp_path), "all")


def test_folders_named_by_split(tmp_path):
    parquet(tmp_path / "default" / "train" / "0000.parquet", ROW)
    parquet(tmp_path / "default" / "test" / "0000.parquet", ROW, ROW)
    assert len(rows_of(open_source(str(tmp_path), split="test"))) == 2


def test_lines_without_a_split_in_their_names(tmp_path):
    lines(tmp_path / "full.jsonl", ROW)
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode()))
    assert len(rows_of(open_source(str(tmp_path)))) == 2
    with pytest.raises(UserError, match="no files of the split 'test'; by their names .* none"):
        open_source(str(tmp_path), split="test")


def test_files_that_are_not_read_are_named(tmp_path, caplog):
    lines(tmp_path / "train.jsonl", ROW)
    for number in range(10):
        lines(tmp_path / f"extra{number}.jsonl", ROW)
    lines(tmp_path / "test.jsonl", ROW)
    assert len(rows_of(open_source(str(tmp_path)))) == 1
    assert f"{tmp_path}: read is train.jsonl; not read, since" in caplog.text
    assert "tell no split: extra0.jsonl, extra1.jsonl, " in caplog.text
    assert "extra7.jsonl and 2 more" in caplog.text
    assert "test.jsonl" not in caplog.text  # its name says what it is


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train.jsonl", "train.parquet"),
        ("train-0.jsonl", "train-1.parquet"),
        ("a.jsonl", "a.jsonl.gz"),
        ("a.ndjson", "a.jsonl"),
    ],
)
def test_one_set_in_two_forms_is_not_read_twice(tmp_path, first, second):
    for name in (first, second):
        (parquet if name.endswith("parquet") else lines)(tmp_path / name, ROW)
    with pytest.raises(UserError, match="files of several forms, which may hold the same") as no:
        open_source(str(tmp_path))
    for name in (first, second):
        assert name in str(no.value)


def test_folders_of_something_else(tmp_path):
    with pytest.raises(UserError, match="has no Parquet or JSONL files"):
        open_source(str(tmp_path))
    (tmp_path / "manifest.json").touch()
    with pytest.raises(UserError, match="is a pool already; it needs no import"):
        open_source(str(tmp_path))


# -- the Hub ---------------------------------------------------------------------------------------


def hub(monkeypatch, *rows, commit="1" * 40):
    """``load_dataset`` that gives these rows and keeps what it was asked for."""
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        data = datasets.Dataset.from_list(list(rows))
        address = f"hf://datasets/owner/name@{commit}/data/train.parquet"
        data.info.download_checksums = {address: {"num_bytes": 1}} if commit else None
        return data

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_set_of_the_hub(monkeypatch):
    asked = hub(monkeypatch, *({**ROW, "n": n} for n in range(1200)))
    source = open_source("openai/gsm8k", "main", "test")
    assert asked == [(("openai/gsm8k", "main"), {"split": "test"})]
    found = rows_of(source)
    assert [number for number, _ in found] == list(range(1200))
    assert found[700][1] == {**ROW, "n": 700}
    assert source.name == "gsm8k-test"
    assert str(source.place(5)) == "openai/gsm8k: row 5 (counted from 0)"
    assert list(source.texts({1100})) == [(1100, json.dumps({**ROW, "n": 1100}))]
    lineage = source.lineage()
    assert len(lineage.pop("input_fingerprint")) >= 16
    assert lineage == {
        "input": "openai/gsm8k",
        "config_name": "main",
        "split": "test",
        "input_commit": "1" * 40,
    }


def test_the_hub_by_default(monkeypatch):
    asked = hub(monkeypatch, {"question": "Q", "answer": "#### 4", "extra": "x"}, commit=None)
    source = open_source("openai/gsm8k")
    assert asked == [(("openai/gsm8k", None), {"split": "train"})]
    assert source.lineage()["input_commit"] is None
    rows = Rows(source, format="gsm8k")
    (table,) = rows.tables()
    assert table.to_pylist() == [
        {"id": "gsm8k-0", "question": "Q", "reference_answer": "4", "source": "gsm8k"}
    ]


def test_neither_a_file_nor_a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        open_source("no/such")  # the tests are offline
    message = str(refused.value)
    assert f"'no/such' is no file or folder here ({os.getcwd()})" in message
    assert "as a data set of the Hub it cannot be loaded: Couldn't reach 'no/such'" in message
    assert "\n" not in message
    for name in ("no/such.jsonl", "no/such.parquet", "a/b/c", "no", "/no/such"):
        with pytest.raises(UserError, match=f"{name}: there is no such file"):
            open_source(name)


def test_a_configuration_that_is_missing(monkeypatch):
    def load_dataset(*arguments, **options):
        raise ValueError("Config name is missing.\nPlease pick one among ['main']")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="the Hub's data set openai/gsm8k: Config name is missing"):
        open_source("openai/gsm8k")
