"""``pool decontaminate``: rows that quote benchmarks go, and every one is listed with the quote."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.__main__ import main
from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.files import sha256_file
from nt_lightning.pool import commands
from nt_lightning.pool.benchmark_questions import load_questions
from nt_lightning.pool.commands.decontaminate_pool import decontaminate_pool
from nt_lightning.pool.decontaminate import Contamination
from nt_lightning.pool.decontamination_report import write_report
from nt_lightning.traces.pool import Pool, write_pool

LEAK = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in all?"
SHORT = "Evaluate $\\log_2 64$."
BOX = "Please reason step by step, and put your final answer within \\boxed{}."
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem. "
)
CLEAN = "How many hens does the farmer have?"
MATH = {"answer": "1", "subject": "Algebra", "level": 1}


class Riddles(Benchmark):
    """Multiple choice with an instruction, as a user may write it.

    Args:
        count: Problems.
    """

    name = "riddles"
    version = "3"

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def problems(self) -> list[Problem]:
        stem = "Which of these is true?"
        return [
            Problem(
                f"riddle-{number}",
                f"Choose one letter.\n\n{stem if number % 2 else f'{stem} Mind row {number}.'}\n\n"
                f"A) claim {number}\nB) claim {number + 100}\n\nAnswer with one letter.",
                "A",
                "letter",
            )
            for number in range(self.count)
        ]

    def grade(self, problem: Problem, answer: str) -> bool:
        return answer == problem.reference_answer


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(commands.COMMANDS, "decontaminate", decontaminate_pool)


@pytest.fixture
def benchmark(tmp_path):
    path = tmp_path / "bench.jsonl"
    rows = [{"question": LEAK, "id": "robe"}, {"question": SHORT, "id": "log"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def math(tmp_path):
    path = tmp_path / "math.jsonl"
    rows = [{"problem": f"{SHORT[:-1]} + {n}.", "unique_id": f"m{n}", **MATH} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions_pool(folder, *questions):
    ids = [f"q{number}" for number in range(len(questions))]
    table = pa.table({"id": ids, "question": list(questions)})
    write_pool(table, folder, {}, rows_per_shard=2, kind="questions")
    return folder


def traces_pool(folder, *rows):
    """Rows of (question, reasoning, answer)."""
    table = [
        {"id": f"t{n}", "question": row[0], "teacher": "t", "reasoning": row[1], "answer": row[2]}
        for n, row in enumerate(rows)
    ]
    write_pool(pa.Table.from_pylist(table), folder, {}, rows_per_shard=2)
    return folder


def decontaminate(*arguments):
    return main(["pool", "decontaminate", *map(str, arguments)])


def against(tmp_path, rows):
    """What finds questions of a file of these rows."""
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Contamination(load_questions([], [str(path)]), 0.5)


def removed(found, *texts):
    """Numbers of the questions that are removed."""
    texts = [*texts, CLEAN]
    table = pa.table({"id": [str(n) for n in range(len(texts))], "question": texts})
    list(found.clean(iter([table])))
    return [int(json.loads(line)["id"]) for line in found.lines]


def report(folder):
    path = folder / "decontamination" / "report.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_leaks_go_and_the_others_stay(benchmark, tmp_path, capsys):
    texts = [
        CLEAN,
        LEAK.upper(),
        "Why?",
        f"Solve it: {LEAK} Thanks",
        f"Why is it so: {SHORT}",
        "Who?",
    ]
    pool = questions_pool(tmp_path / "in", *texts)
    out = tmp_path / "out"
    assert decontaminate("--pool", pool, "--output", out, "--files", f"[{benchmark}]") == 0
    written = Pool(out, "questions")
    assert written.kind == "questions"
    assert written.read()["id"].to_pylist() == ["q0", "q2", "q5"]
    assert [row["id"] for row in report(out)] == ["q1", "q3", "q4"]
    assert [row["question"] for row in report(out)] == [texts[1], texts[3], texts[4]]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"{out}: 3 of 6 questions kept, 3 removed and listed in decontamination/report.jsonl"
    )


def test_the_report_has_the_quoting_text(benchmark, tmp_path):
    texts = [CLEAN, f"Solve — é — it: {LEAK} Thanks"]
    pool = questions_pool(tmp_path / "in", *texts)
    decontaminate("--pool", pool, "--output", tmp_path / "out", "--files", f"[{benchmark}]")
    (row,) = report(tmp_path / "out")
    (quote,) = row["quotes"]
    assert texts[1][quote["start"] : quote["end"]] == quote["span"] == LEAK[:-1]
    del quote["start"], quote["end"], quote["span"]
    assert quote == {
        "benchmark": "bench.jsonl",
        "problem": "robe",
        "rule": "contained",
        "column": "question",
        "coverage": 1.0,
        "benchmark_question": LEAK,
    }


def test_traces_are_searched_in_reasoning_and_answer(benchmark, tmp_path):
    pool = traces_pool(
        tmp_path / "in",
        (CLEAN, "I think. I think.", "7"),
        (CLEAN, f"Hmm. {LEAK} So.", "7"),
        (CLEAN, "I think.", f"It says {LEAK}"),
        (CLEAN, "", "log 2 64 is 6"),
    )
    decontaminate("--pool", pool, "--output", tmp_path / "out", "--files", f"[{benchmark}]")
    assert Pool(tmp_path / "out").read()["id"].to_pylist() == ["t0", "t3"]
    columns = [[quote["column"] for quote in row["quotes"]] for row in report(tmp_path / "out")]
    assert columns == [["reasoning"], ["answer"]]
    assert report(tmp_path / "out")[0]["teacher"] == "t"


def test_reference_answers_are_no_questions(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([{"question": LEAK, "answer": CLEAN}]))
    pool = questions_pool(tmp_path / "in", CLEAN)
    assert decontaminate("--pool", pool, "--output", tmp_path / "out", "--files", f"[{path}]") == 0


def test_summary_and_lineage_count_by_benchmark(benchmark, math, tmp_path, capsys):
    pool = questions_pool(tmp_path / "in", CLEAN, LEAK, f"{LEAK} {SHORT[:-1]} + 3.")
    out = tmp_path / "out"
    decontaminate(
        "--pool", pool, "--output", out, "--files", f"[{benchmark}]",
        "--benchmarks+=evals.math_500.Math500", f"--benchmarks.path={math}",
    )  # fmt: skip
    lineage = Pool(out, "questions").manifest["lineage"]
    assert (lineage["rows_in"], lineage["rows_out"]) == (3, 1)
    assert lineage["dropped"] == {"quotes a benchmark": 2}
    assert lineage["config_digest"]
    assert lineage["removed_by_benchmark"] == {"math_500": 1, "bench.jsonl": 2}
    first, second = lineage["benchmarks"]
    assert (first["name"], first["questions"]) == ("math_500", 6)
    assert first["version"].startswith("2 (math.jsonl, sha256 ")  # the file is part of it
    assert (second["input"], second["input_sha256"]) == (
        str(benchmark.resolve()),
        sha256_file(benchmark),
    )
    assert len({first["questions_digest"], second["questions_digest"]}) == 2
    summary = (out / "decontamination" / "summary.txt").read_text()
    rows = [line.split() for line in summary.splitlines()]
    assert ["math_500", "6", "1", "1", "1", "0", "1", "0"] in rows
    assert ["bench.jsonl", "2", "2", "2", "2", "1", "1", "0"] in rows
    assert "math_500" in capsys.readouterr().out


def test_benchmarks_in_a_config_file(math, tmp_path):
    pool = questions_pool(tmp_path / "in", CLEAN, f"{SHORT[:-1]} + 5")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"pool: {pool}\noutput: {tmp_path / 'out'}\nbenchmarks:\n"
        "  - class_path: evals.math_500.Math500\n"
        f"    init_args:\n      path: {math}\n"
    )
    assert decontaminate("--config", config) == 0
    assert [row["quotes"][0]["problem"] for row in report(tmp_path / "out")] == ["m5"]


def test_a_prompt_is_known_without_its_instructions(tmp_path):
    (asked,) = load_questions([Riddles()], [])
    assert asked.questions[0] == "Which of these is true? Mind row 0."
    assert asked.questions[1] == "Which of these is true?"
    assert asked.with_options[1] == "Which of these is true?\n\nA) claim 1\nB) claim 101"


def test_what_asks_nothing_is_looked_for_with_its_options():
    found = Contamination(load_questions([Riddles()], []), 0.5)
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "question": [
                "Which of these is true? (A) sheep (B) goats",
                "I was asked: which of these is true? (A) claim 3 (B) claim 103",
                "which of these is true",
                CLEAN,
            ],
        }
    )
    (kept,) = found.clean(iter([table]))
    assert kept["id"].to_pylist() == ["a", "d"]
    first = json.loads(next(iter(found.lines)))
    assert [quote["problem"] for quote in first["quotes"]] == ["riddle-3"]
    assert len(found.not_searched) == 4


def test_what_asks_nothing_and_has_no_options_is_compared_whole(tmp_path):
    path = tmp_path / "b.jsonl"
    stem = "Which of these is true?"
    asked = [stem, *(f"{stem} Mind row {number}." for number in range(4))]
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in asked))
    found = Contamination(load_questions([], [str(path)]), 0.5)
    texts = [stem, f"{stem} A hen.", CLEAN]
    (kept,) = found.clean(iter([pa.table({"id": ["a", "b", "c"], "question": texts})]))
    assert kept["id"].to_pylist() == ["b", "c"]
    out = tmp_path / "report"
    write_report(found, out)
    (line,) = (out / "not_searched.jsonl").read_text().splitlines()
    entry = {"benchmark": "b.jsonl", "problem": "row 0", "question": stem, "compared": "whole"}
    assert json.loads(line) == entry
    assert "1 questions say too little to be looked for" in (out / "summary.txt").read_text()


def test_all_that_is_not_searched_is_listed(tmp_path):
    rows = [
        {"question": "Inflation", "options": ["up", "down"]},
        {"question": "2+2?"},
        {"question": "∫ ∮ ?"},
        {"question": LEAK},
    ]
    found = against(tmp_path, rows)
    texts = ["I ask: inflation, 1. up 2. down?", "2 + 2", "2 - 2", "So 2+2?", "∫ ∮ ?"]
    assert removed(found, *texts) == [0, 1]
    write_report(found, tmp_path / "report")
    lines = (tmp_path / "report" / "not_searched.jsonl").read_text().splitlines()
    assert [json.loads(line)["compared"] for line in lines] == [
        "with its options",
        "whole",
        "never",
    ]
    summary = " ".join((tmp_path / "report" / "summary.txt").read_text().split())
    assert "compared: 1 with its options, 1 whole, 1 never (not_searched.jsonl)" in summary


@pytest.mark.parametrize(
    "choices",
    [
        lambda texts: texts,
        lambda texts: {"text": texts, "label": list("AB")},
        lambda texts: dict(zip("AB", texts, strict=True)),
    ],
    ids=["list", "text and label", "by letter"],
)
def test_options_are_looked_for_in_any_notation(tmp_path, choices):
    stem = "Which of these is true?"
    rows = [
        {
            "question": stem if n else f"{stem} Mind it.",
            "choices": choices([f"claim {n} sheep", f"claim {n} goat"]),
        }
        for n in range(6)
    ]
    texts = [
        f"{stem} (A) claim 3 sheep (B) claim 3 goat",
        f"{stem}\nA. claim 3 sheep\nB. claim 3 goat",
        f"So: {stem}\nOptions:\n1) claim 3 sheep\n2) claim 3 goat\nWhy?",
        f"{stem}\n- claim 3 sheep\n- claim 3 goat",
        f"{stem} (A) claim 3 sheep (B) claim 4 goat",
    ]
    assert removed(against(tmp_path, rows), *texts) == [0, 1, 2, 3]


def test_lines_with_letters_may_be_the_question(tmp_path):
    boxes = (
        "Two boxes:\nA. contains 3 red and 4 blue balls\nB. contains 2 red and 5 blue balls\n"
        "A ball is drawn from each. What is the probability that both are red?"
    )
    found = against(tmp_path, [{"question": boxes}])
    assert found.benchmarks[0].questions == [boxes]
    assert removed(found, boxes, f"x {boxes}", "Two boxes are red.") == [0, 1]
    found = against(tmp_path, [{"question": "Tell it.\nA. How many hens lay\nB. why they do so"}])
    assert removed(found, "Tell it: A. how many hens lay, B. why they do so?") == [0]


@pytest.mark.parametrize("ends", [("", f"\n{BOX}"), ("", f" {BOX}"), (DAPO, ""), (DAPO, BOX)])
@pytest.mark.parametrize("column", ["prompt", "question"])
def test_instructions_of_a_file_are_no_part_of_its_questions(tmp_path, ends, column):
    asked = [LEAK, *(f"{word} hens lay five eggs. How many eggs?" for word in "abcdef")]
    rows = [{column: ends[0] + text + ends[1]} for text in asked]
    found = against(tmp_path, rows)
    assert found.benchmarks[0].questions == asked
    texts = [*asked, f"{ends[0]}How many hens?{ends[1]}"]
    assert removed(found, *texts) == list(range(7))


@pytest.mark.parametrize("name", ["b.jsonl", "b.json", "b.parquet", "b.jsonl.gz"])
@pytest.mark.parametrize("column", ["question", "problem", "Question", "prompt"])
def test_files_and_columns(tmp_path, name, column):
    path, rows = tmp_path / name, [{"note": "x", column: LEAK}, {"note": "y", column: SHORT}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines if name.endswith("l") else json.dumps(rows))
    (asked,) = load_questions([], [str(path)])
    assert (list(asked.ids), list(asked.questions)) == (["row 0", "row 1"], [LEAK, SHORT])
    assert asked.origin["input_sha256"] == sha256_file(path)


def test_a_column_by_name(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps({"text": LEAK, "question": "Which?"}) + "\n")
    (asked,) = load_questions([], [str(path)], "text")
    assert list(asked.questions) == [LEAK]


def test_files_of_one_name_are_told_apart_by_their_folder(benchmark, tmp_path):
    other = tmp_path / "other" / benchmark.name
    other.parent.mkdir()
    other.write_bytes(benchmark.read_bytes())
    names = [one.name for one in load_questions([], [str(benchmark), str(other)])]
    assert names == [str(benchmark), str(other)]


def test_nothing_to_hold_it_against(tmp_path, capsys):
    pool = questions_pool(tmp_path / "in", CLEAN)
    assert decontaminate("--pool", pool, "--output", tmp_path / "out") == 2
    assert "benchmarks and files are empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "x", "n": 1}\n', "no column of questions: question or problem or Question or"),
        ('{"text": "x", "n": 1}\n', "it has: text, n; --column names another"),
        ('{"question": 3}\n', "row 0 (counted from 0): column 'question' is no text"),
        ('{"question": " "}\n', "column 'question' is no text with a question: ' '"),
        ('{"question": "Why?"}\n{broken\n', "row 1 (counted from 0): is no JSON"),
        ("", "there is no question"),
        (
            '{"question": "Who?", "options": "A) you B) I"}\n',
            "'options' is no list of options: 'A)",
        ),
        ('{"question": "Who?", "choices": {"text": "you"}}\n', '{"text": [..]}'),
        ('{"question": "Who?", "choices": [{"a": 1}]}\n', "allowed: a list of texts"),
    ],
)
def test_bad_files(tmp_path, text, said):
    path = tmp_path / "b.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_questions([], [str(path)])
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_names_are_not_repeated(benchmark):
    with pytest.raises(UserError, match=r"2 benchmarks are called"):
        load_questions([], [str(benchmark), str(benchmark)])
    with pytest.raises(UserError, match=r"there is no such file"):
        load_questions([], ["missing.jsonl"])
    with pytest.raises(UserError, match=r"has no problems"):
        load_questions([Riddles(0)], [])


def test_a_pool_of_leaks_alone_is_not_written(benchmark, tmp_path, capsys):
    pool = questions_pool(tmp_path / "in", LEAK, SHORT, f"{LEAK} {SHORT}")
    out = tmp_path / "out"
    assert decontaminate("--pool", pool, "--output", out, "--files", f"[{benchmark}]") == 2
    said = capsys.readouterr().err
    assert "all 3 rows quote benchmark questions (bench.jsonl 3); no pool is written" in said
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("value", ["-0.1", "1.5"])
def test_coverage_out_of_range(benchmark, tmp_path, capsys, value):
    pool = questions_pool(tmp_path / "in", CLEAN)
    options = ["--files", f"[{benchmark}]", f"--min_coverage={value}"]
    assert decontaminate("--pool", pool, "--output", tmp_path / "out", *options) == 2
    assert "min_coverage is" in capsys.readouterr().err


def test_shards_change_nothing(benchmark, tmp_path):
    rows = [(f"{CLEAN} {n}", LEAK if n % 3 == 0 else "So.", "7") for n in range(9)]
    small = traces_pool(tmp_path / "small", *rows)
    write_pool(Pool(small).read(), tmp_path / "large", {})
    for name in ("small", "large"):
        folders = ["--pool", tmp_path / name, "--output", tmp_path / f"out-{name}"]
        decontaminate(*folders, "--files", f"[{benchmark}]")
    assert report(tmp_path / "out-small") == report(tmp_path / "out-large")
    assert len({Pool(tmp_path / f"out-{name}").digest for name in ("small", "large")}) == 1
