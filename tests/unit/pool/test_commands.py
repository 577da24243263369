"""``pool import``, ``export`` and ``show``, and how mistakes are answered."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.files import sha256_file
from nt_lightning.pool.commands.import_pool import Format
from nt_lightning.traces.formats import make_formats
from nt_lightning.traces.pool import Pool
from tests.tiny import save_tiny_student, tiny_tokenizer

ROOT = Path(__file__).parents[3]
ROWS = [
    {"question": "Q", "response": "<think>one two</think>A [b]", "domain": "maths", "score": 1.5},
    {"question": "Q", "response": "<think>one</think>A b", "domain": None, "correct": True},
    {"question": "P", "response": 5},
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
        "format": "response",
        "config_digest": written.manifest["lineage"]["config_digest"],
        "rows_in": 2,
        "rows_out": 2,
        "dropped": {},
        "ids_renamed": 0,
        "system_turns_dropped": 0,
        "columns_left_out": [],
        "column": [],
        "config_name": None,
        "split": None,
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
    problem = "row 2 (counted from 0): column 'response': is 5, not text"
    assert problem in refused(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
    assert pool(*arguments, "--on_bad_row", "skip") == 0
    listed = tmp_path / "p.quarantine.jsonl"
    said = f"{tmp_path / 'p'}: 2 traces of 1 questions; 1 left out (1 malformed), see {listed}\n"
    assert capsys.readouterr().out == said
    lineage = Pool(tmp_path / "p").manifest["lineage"]
    assert (lineage["rows_in"], lineage["rows_out"]) == (3, 2)
    assert lineage["dropped"] == {"malformed": 1}
    (row,) = [json.loads(line) for line in listed.read_text().splitlines()]
    assert (row["file"], row["row"]) == (str(bad_file), 2)
    assert json.loads(row["text"]) == ROWS[2]
    assert "left out" not in caplog.text  # it is said once


def test_what_was_cut_off_needs_no_leave(file, tmp_path, capsys):
    with file.open("a") as out:
        for response in ("<think>one", "No thought, the server is down."):
            out.write(json.dumps({"question": "P", "response": response}) + "\n")
        out.write(json.dumps({"question": "P", "response": "<think>a</think>"}) + "\n")
        row = {"question": "P", "response": "<think>a</think>b", "finish_reason": "length"}
        out.write(json.dumps(row) + "\n")
    arguments = ["import", "--input", file, "--output", tmp_path / "p", "--teacher", "r1"]
    assert pool(*arguments) == 0
    assert "2 traces of 1 questions; 4 left out (1 thinking is never" in capsys.readouterr().out
    assert Pool(tmp_path / "p").manifest["lineage"]["dropped"] == {
        "thinking is never closed": 1,
        "there is reasoning and no answer": 1,
        "the reply was cut off at its longest": 1,
        "no end of thinking, but most replies of its teacher think (cut off, or an error?)": 1,
    }
    listed = tmp_path / "p.quarantine.jsonl"
    rows = [json.loads(line)["row"] for line in listed.read_text().splitlines()]
    assert rows == [2, 3, 4, 5]
    file.write_text(json.dumps(ROWS[0]) + "\n")
    assert pool(*arguments, "--overwrite", "true") == 0
    assert not listed.exists()  # it was about other rows


def test_a_pool_that_stays_keeps_its_list(file, tmp_path, capsys):
    """The pool of a failed import with --overwrite true is the old one, and so is the list."""
    with file.open("a") as out:
        out.write(json.dumps({"question": "P", "response": "<think>one"}) + "\n")
    folder, listed = tmp_path / "p", tmp_path / "p.quarantine.jsonl"
    arguments = ["import", "--output", folder, "--teacher", "r1", "--overwrite", "true"]
    assert pool(*arguments, "--input", file) == 0
    before = listed.read_text()
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"question": "P", "response": " "}) + "\n")
    assert "no usable row" in refused(capsys, *arguments, "--input", other)
    rows = [{"question": "P", "response": response} for response in ("A", " ")]
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nt_lightning.pool.imports.write_pool", _no_room)
        assert "no room" in refused(capsys, *arguments, "--input", other)
    assert listed.read_text() == before
    assert len(Pool(folder)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("in.jsonl", "other.jsonl", "p", "p.quarantine.jsonl")
    ]


def test_where_there_is_no_pool_the_list_says_why(tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(json.dumps({"question": "P", "response": " "}) + "\n")
    arguments = ["import", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "p"]
    refused(capsys, *arguments, "--teacher", "t")
    assert json.loads((tmp_path / "p.quarantine.jsonl").read_text())["reason"] == (
        "the reply is empty"
    )


def _no_room(*arguments, **options):
    raise UserError("no room")


STUCK = """
import sys, time, types
from nt_lightning.__main__ import main
from nt_lightning.traces import adapters, pool

def stuck(*arguments, **options):
    print("stuck", flush=True)
    time.sleep(60)

pool._write_shards = stuck
adapters.json = types.SimpleNamespace(dumps=stuck)
sys.exit(main(sys.argv[1:]))
"""


def stopped(number, *arguments):
    """The exit code of a command that hears this signal while it writes."""
    command = [sys.executable, "-c", STUCK, "pool", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(number)
        process.communicate(timeout=30)
    return process.returncode


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_what_stopped_commands_leave(file, tmp_path):
    """SIGTERM tidies as Ctrl+C does; after SIGKILL, the next command that writes there does."""
    with file.open("a") as out:
        out.write(json.dumps({"question": "P", "response": "<think>one"}) + "\n")
    folder, out = tmp_path / "p", tmp_path / "out.jsonl"
    arguments = ["import", "--input", file, "--output", folder, "--teacher", "r1"]
    assert stopped(signal.SIGTERM, *arguments) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert stopped(signal.SIGKILL, *arguments) == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 3  # what waits, the list, the pool
    assert pool(*arguments) == 0
    assert hidden(tmp_path) == []
    exported = ["export", "--pool", folder, "--output", out]
    assert stopped(signal.SIGTERM, *exported) == 143
    assert hidden(tmp_path) == []
    assert stopped(signal.SIGKILL, *exported) == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 1
    assert pool(*exported) == 0
    assert hidden(tmp_path) == []


def test_questions_alone_make_a_pool_of_questions(tmp_path, capsys):
    file, folder = tmp_path / "in.jsonl", tmp_path / "pool"
    rows = [{"question": "P", "reference_answer": "4"}, {"question": "Q"}, {"question": "Q"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["import", "--input", file, "--output", folder]
    message = refused(capsys, *arguments, "--teacher", "r1")
    assert f"teacher: {file} holds questions without responses" in message
    assert pool(*arguments) == 0
    assert capsys.readouterr().out == f"{folder}: 3 questions, 2 different ones\n"
    written = Pool(folder, "questions")
    assert written.read(["id", "question", "reference_answer"]).to_pylist()[0] == {
        "id": "in-0",
        "question": "P",
        "reference_answer": "4",
    }


def test_a_folder_is_one_input(tmp_path, capsys):
    (tmp_path / "set" / "data").mkdir(parents=True)
    for number in range(2):
        rows = [{"question": f"Q{number}", "response": "A"}]
        pq.write_table(
            pa.Table.from_pylist(rows), tmp_path / "set" / "data" / f"train-{number}.parquet"
        )
    folder = tmp_path / "pool"
    arguments = ["import", "--input", tmp_path / "set", "--output", folder, "--teacher", "t"]
    assert pool(*arguments) == 0
    written = Pool(folder)
    assert written.read(["id"])["id"].to_pylist() == ["set-0", "set-1"]
    lineage = written.manifest["lineage"]
    assert list(lineage["input_files"]) == ["data/train-0.parquet", "data/train-1.parquet"]
    assert len(lineage["input_sha256"]) == 64
    message = refused(capsys, *arguments, "--overwrite", "true", "--split", "test")
    assert "split: " in message
    assert "by their names there are: train" in message


def test_the_formats_are_those_that_there_are():
    assert get_args(Format) == tuple(make_formats())


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
    for overwrite in ("true", "false"):
        exported = ["export", "--pool", folder, "--output", tmp_path, "--overwrite", overwrite]
        assert f"output: {tmp_path} is a folder; give a file" in refused(capsys, *exported)


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
        ["different", "questions", "1"],
        ["input_sha256", sha256_file(file)],
        ["score", "double", "50.0%", "not", "of", "the", "record;", "kept", "as", "it", "is"],
        ["teacher", "r1", "2", "100.0%"],
        ["domain", "maths", "1", "50.0%"],
        ["(null)", "1", "50.0%"],
        ["correct", "(null)", "1", "50.0%"],
        ["true", "1", "50.0%"],
        ["words", "of", "answer", "2", "2", "2", "2", "2", "2", "2"],
    ):
        assert line in shown


def test_show_of_questions(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    row = {"question": "P", "source": "s"}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    pool("import", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "pool")
    pool("show", "--pool", tmp_path / "pool")
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["column", "value", "questions", "share"] in shown
    assert ["source", "s", "1", "100.0%"] in shown


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
        ([], ["subcommand", "{import,dedup,"]),
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
        (["export", "--pool", "x", "--output", "y.jsonl"], ["x is no pool"]),
        (["export", "--pool", "x", "--output", "y.csv"], ["y.csv", "ends in .jsonl or .jsonl.gz"]),
        (
            ["decontaminate", "--pool", "x", "--output", "y", "--benchmarks", "mine.jsonl"],
            ["--benchmarks mine.jsonl: is no class path", "--files"],
        ),
        (
            ["generate", "--pool", "x", "--output", "y", "--teachers.0.base_url", "http://h/v1"],
            ["--teachers.0.base_url", "give the whole list, --teachers '[{"],
        ),
        (
            ["annotate", "--pool", "x", "--output", "y", "--annotator.model", "m"]
            + ["--aspects", "verbose"],
            ["Expected one of 'topic', 'strategies', 'verbosity'", "verbose"],
        ),
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
    assert "File (.jsonl, .jsonl.gz, .json, .parquet)" in done.stdout
    assert time.perf_counter() - began < 2


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_without_a_teacher_there_is_one_error_with_the_files_columns(tmp_path, capsys, on_bad_row):
    rows = [{"question": f"Q{n}", "response": "<think>a</think>b", "own": 1} for n in range(3)]
    arguments = ["import", "--input", lines(tmp_path / "in.jsonl", *rows)]
    arguments += ["--output", tmp_path / "p", "--on_bad_row", on_bad_row]
    message = refused(capsys, *arguments)
    assert "row 0 (counted from 0): column 'teacher': is missing" in message
    assert "--teacher NAME; found: question, response, own" in message
    assert not (tmp_path / "p.quarantine.jsonl").exists()


def test_a_row_without_a_teacher_among_others_is_left_out(tmp_path, capsys):
    row = {"question": "Q", "response": "<think>a</think>b"}
    file = lines(tmp_path / "in.jsonl", row | {"teacher": "r1"}, row)
    arguments = ["import", "--input", file, "--output", tmp_path / "p", "--on_bad_row", "skip"]
    assert pool(*arguments) == 0
    listed = json.loads((tmp_path / "p.quarantine.jsonl").read_text())
    assert "--teacher NAME; found: question, response" in listed["reason"]


def test_system_turns_are_counted(tmp_path, capsys):
    talk = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    file = lines(tmp_path / "in.jsonl", {"messages": talk}, {"messages": talk[1:]})
    assert pool("import", "--input", file, "--output", tmp_path / "p", "--teacher", "t") == 0
    assert "2 traces of 1 questions, 1 system turns dropped" in capsys.readouterr().out
    assert Pool(tmp_path / "p").manifest["lineage"]["system_turns_dropped"] == 1


def test_columns_under_other_names_and_numbers_as_gold(tmp_path, capsys):
    rows = [{"prompt": "P", "gold": 5, "question": None}, {"prompt": "Q", "gold": 6.5}]
    file, folder = lines(tmp_path / "in.jsonl", *rows), tmp_path / "p"
    arguments = ["import", "--input", file, "--output", folder]
    arguments += ["--column", "[question=prompt,reference_answer=gold]"]
    assert pool(*arguments) == 0
    found = Pool(folder, "questions").read(["question", "reference_answer"]).to_pylist()
    assert found == [
        {"question": "P", "reference_answer": "5"},
        {"question": "Q", "reference_answer": "6.5"},
    ]
    pq.write_table(pa.Table.from_pylist([{"prompt": "P", "x": 1}]), tmp_path / "in.parquet")
    one = ["import", "--input", tmp_path / "in.parquet", "--output", tmp_path / "q"]
    assert "--column question=NAME reads a column" in refused(capsys, *one)
    assert "column is 'prompt'; needed: NEW=OLD" in refused(capsys, *one, "--column", "prompt")
    assert pool(*one, "--column", "question=prompt") == 0  # a list of one
    assert Pool(tmp_path / "q", "questions").read(["x"])["x"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "question,answer\nQ,A\n", "a table is not read; read are: .jsonl"),
        ("a.jsonl", '[{"question": "Q"}]\n', "a file that is one list is called .json"),
        ("a.jsonl", '[\n{"question": "Q"}\n]\n', "a file that is one list is called .json"),
        ("a.jsonl", "question,answer\nQ,A\n", "(read are: .jsonl with one JSON object a line"),
        ("a.jsonl", '{"question": "Q", "answer": "A"}\n', "a gold answer is called reference_"),
    ],
)
def test_what_is_not_read_is_told(tmp_path, capsys, name, text, says):
    (tmp_path / name).write_text(text)
    message = refused(capsys, "import", "--input", tmp_path / name, "--output", tmp_path / "p")
    assert says in message


def test_a_single_path_is_a_list_of_one(tmp_path, capsys):
    file = lines(tmp_path / "in.jsonl", {"question": "How many sides has a hexagon in all?"})
    own = lines(tmp_path / "own.jsonl", {"question": "Name the largest moon of the planet Mars."})
    pool("import", "--input", file, "--output", tmp_path / "p")
    for number, given in enumerate((["--files", own], [f"--files={own}"], ["--files", f"[{own}]"])):
        out = tmp_path / f"out{number}"
        assert pool("decontaminate", "--pool", tmp_path / "p", "--output", out, *given) == 0
        (one,) = Pool(out, "questions").manifest["lineage"]["benchmarks"]
        assert one["name"] == "own.jsonl"
