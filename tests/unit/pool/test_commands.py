"""``pool import``, ``export`` and ``show``, and how mistakes are answered."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nt_lightning.__main__ import main
from nt_lightning.files import sha256_file
from nt_lightning.traces.pool import Pool
from tests.tiny import save_tiny_student, tiny_tokenizer

ROOT = Path(__file__).parents[3]
ROWS = [
    {"question": "Q", "response": "<think>one two</think>A [b]", "domain": "maths", "score": 1.5},
    {"question": "Q", "response": "<think>one</think>A b", "domain": None, "correct": True},
    {"question": "P", "response": "<think>one"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    return path


@pytest.fixture
def bad_file(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def pool(*arguments):
    return main(["pool", *map(str, arguments)])


def refused(capsys, *arguments):
    """Exit code 2, nothing on stdout, at most five lines on stderr; returns them."""
    capsys.readouterr()
    assert pool(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 5
    assert "Traceback" not in err
    return err


def test_import_writes_a_pool_with_its_lineage(file, tmp_path, capsys):
    folder = tmp_path / "pool"
    assert pool("import", "--input", file, "--output", folder, "--teacher", "r1") == 0
    assert capsys.readouterr().out == f"{folder}: 2 traces of 1 questions\n"
    written = Pool(folder)
    assert written.manifest["lineage"] == {
        "command": "pool import",
        "input": str(file),
        "input_sha256": sha256_file(file),
        "teacher": "r1",
        "on_bad_row": "error",
        "rows_in": 2,
        "rows_out": 2,
        "tokenizer": None,
        "response_tokens_filled": 0,
    }
    assert "response_tokens" not in written.column_names
    assert written.read(["reasoning"])["reasoning"].to_pylist() == ["one two", "one"]


def test_import_counts_tokens_where_the_rows_do_not_say_them(tmp_path, capsys):
    student = save_tiny_student(tmp_path / "student")
    rows = [
        {"question": "Q", "reasoning": "I add three", "answer": "A: 7"},
        {"question": "P", "reasoning": "I add three", "answer": "A: 7", "response_tokens": 99},
    ]
    file, folder = tmp_path / "in.jsonl", tmp_path / "pool"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["import", "--input", file, "--output", folder, "--teacher", "r1"]
    assert pool(*arguments, "--tokenizer", student) == 0
    said = f"{folder}: 2 traces of 2 questions, response_tokens of 1 counted\n"
    assert capsys.readouterr().out == said
    tokenizer = tiny_tokenizer()
    number = len(tokenizer.tokenize("I add three")) + len(tokenizer.tokenize("A: 7"))
    written = Pool(folder)
    assert written.read(["response_tokens"])["response_tokens"].to_pylist() == [number, 99]
    lineage = written.manifest["lineage"]
    assert (lineage["tokenizer"], lineage["response_tokens_filled"]) == (student, 1)
    message = refused(capsys, *arguments, "--tokenizer", "no/such", "--overwrite", "true")
    assert "model 'no/such' cannot be loaded" in message
    assert Pool(folder).digest == written.digest


def test_packed_rows_are_counted(file, tmp_path):
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert pool("import", "--input", packed, "--output", tmp_path / "p", "--teacher", "r1") == 0
    assert Pool(tmp_path / "p").manifest["lineage"]["rows_in"] == 2


def test_bad_rows_are_counted_and_listed(bad_file, tmp_path, capsys, caplog):
    arguments = ["import", "--input", bad_file, "--output", tmp_path / "p", "--teacher", "r1"]
    assert "row 2: column 'response': <think> is never closed" in refused(capsys, *arguments)
    assert not (tmp_path / "p").exists()
    assert pool(*arguments, "--on_bad_row", "skip") == 0
    lineage = Pool(tmp_path / "p").manifest["lineage"]
    assert (lineage["rows_in"], lineage["rows_out"]) == (3, 2)
    listed = (tmp_path / "p.quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [2]
    assert "1 bad rows left out" in caplog.text


def test_nothing_is_overwritten_unasked(file, tmp_path, capsys):
    folder, out = tmp_path / "pool", tmp_path / "out.jsonl"
    arguments = ["import", "--input", file, "--output", folder, "--teacher"]
    assert pool(*arguments, "r1") == 0
    assert "holds a pool; give --overwrite true" in refused(capsys, *arguments, "r2")
    assert pool(*arguments, "r2", "--overwrite", "true") == 0
    assert Pool(folder).read(["teacher"])["teacher"].to_pylist() == ["r2", "r2"]
    other = ["import", "--input", file, "--output", tmp_path, "--teacher", "r1"]
    assert "is no pool and not empty" in refused(capsys, *other, "--overwrite", "true")
    out.touch()
    assert "exists" in refused(capsys, "export", "--pool", folder, "--output", out)


def test_export_can_be_imported_again(file, tmp_path, capsys):
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out.jsonl"
    pool("import", "--input", file, "--output", first, "--teacher", "r1")
    assert pool("export", "--pool", first, "--output", out) == 0
    assert f"{out}: 2 traces" in capsys.readouterr().out
    pool("import", "--input", out, "--output", second)
    assert Pool(second).digest == Pool(first).digest


def test_show(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pool("import", "--input", file, "--output", tmp_path / "pool", "--teacher", "r1")
    capsys.readouterr()
    assert pool("show", "--pool", tmp_path / "pool") == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    for line in (
        ["traces", "2"],
        ["questions", "1"],
        ["lineage:", "input_sha256", sha256_file(file)],
        ["score", "double", "50.0%", "not", "of", "the", "record;", "kept", "as", "it", "is"],
        ["teacher", "r1", "2", "100.0%"],
        ["domain", "maths", "1", "50.0%"],
        ["(null)", "1", "50.0%"],
        ["correct", "(null)", "1", "50.0%"],
        ["true", "1", "50.0%"],
        ["words", "of", "answer", "2", "2", "2", "2", "2", "2", "2"],
    ):
        assert line in shown


def test_show_names_the_most_common_values(tmp_path, capsys):
    rows = [
        {"question": f"Q{n}", "response": "A", "domain": f"d{n % 20}" if n < 40 else "big"}
        for n in range(100)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "pool"
    pool("import", "--input", tmp_path / "in.jsonl", "--output", target, "--teacher", "t")
    pool("show", "--pool", target)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["domain", "big", "60", "60.0%"] in shown
    assert ["13", "more", "values", "26", "26.0%"] in shown


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["subcommand", "{import,export,show,embed}"]),
        (["imprt"], ["'imprt'", "did you mean import"]),
        (["import", "--inptu", "x"], ["--inptu", "did you mean input?"]),
        (["import", "--input", "x"], ["required", "output"]),
        (["import", "--input", "x", "--output", "y"], ["x: there is no such file"]),
        (
            ["import", "--input", "x", "--output", "y", "--on_bad_row", "drop"],
            ["on_bad_row", "'error', 'skip'", "drop"],
        ),
        (["show", "--pool", "x"], ["x is no pool"]),
        (["show", "--pol", "x"], ["--pol", "did you mean pool?"]),
        (["export", "--pool", "x", "--output", "y"], ["x is no pool"]),
    ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, *arguments)
    assert message.startswith("nt_lightning pool")
    for part in parts:
        assert part in message
    assert os.listdir(tmp_path) == []


def test_help_is_quick_and_needs_neither_arrow_nor_torch():
    code = (
        "import sys; from nt_lightning.__main__ import main; code = main(['pool', *sys.argv[1:]])\n"
        "heavy = {'torch', 'transformers', 'lightning', 'datasets', 'pyarrow'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "import", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "JSONL file, one trace a line" in done.stdout
    assert time.perf_counter() - began < 2
