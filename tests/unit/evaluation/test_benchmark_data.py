"""Rows of files and of the Hub as problems: order, columns, variants, grading."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import (
    HubBenchmark,
    HubTable,
    TableRow,
    check_columns,
    file_rows,
    interleaved,
    letter_problem,
    text_id,
)
from nt_lightning.evaluation.options import Options

ROW = TableRow("f.jsonl: row 3", 3, {"q": "Why?", "n": 12, "x": 2.5, "o": ["a", "b", "N/A", "c"]})


class Colours(HubBenchmark):
    name = "colours"
    table = HubTable("owner/colours", split="test", revision="abc", size=2)
    columns = ("id", "options", "answer")
    is_shuffled = True

    def problem(self, row: TableRow, repeat: int) -> Problem:
        name = row.text("id")
        options = row.lettered(row.texts("options"), row.text("answer"))
        options = options.shuffled(name, self.seed, repeat)
        return letter_problem(name, options.lines(), options, stem="?", domain="d", extra=1)


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"q{n}", "options": ["red", "green", "blue"], "answer": "ABC"[n % 3]}
        for n in range(count)
    ]


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_values_of_a_row() -> None:
    assert (ROW.text("q"), ROW.text("n"), ROW.text("x")) == ("Why?", "12", "2.5")
    assert ROW.texts("o") == ["a", "b", "N/A", "c"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "nothing"),
        ("", "an empty text"),
        (True, "a value of the type bool"),
        (float("nan"), "a value of the type float"),
        (["secret"], "a value of the type list"),
    ],
)
def test_no_text(value: object, found: str) -> None:
    with pytest.raises(UserError) as caught:
        TableRow("f: row 0", 0, {"q": value}).text("q")
    assert str(caught.value) == f"f: row 0: column 'q' has {found}; needed: a text"


def test_no_list_of_texts() -> None:
    with pytest.raises(UserError, match="'q' has a value of the type str; needed: a list of texts"):
        ROW.texts("q")
    with pytest.raises(UserError, match="needed: a list of texts"):
        TableRow("f", 0, {"o": ["a", 1]}).texts("o")


def test_the_letter_counts_the_padding() -> None:
    """Leaving out an option in the middle moves the letter of the right one."""
    assert ROW.lettered([" a ", "b", "c"], "B") == Options(("a", "b", "c"), 1)
    assert ROW.lettered(ROW.texts("o"), "D", padding="N/A") == Options(("a", "b", "c"), 2)
    assert ROW.lettered(ROW.texts("o"), "D") == Options(("a", "b", "N/A", "c"), 3)


@pytest.mark.parametrize("letter", ["E", "b", "AB", "1", "C"])
def test_the_letter_of_no_option(letter: str) -> None:
    with pytest.raises(UserError, match=r"f\.jsonl: row 3: the letter .* is none of 3 options"):
        ROW.lettered(ROW.texts("o"), letter, padding="N/A")


def test_a_missing_column() -> None:
    with pytest.raises(UserError) as caught:
        check_columns(ROW, ["q", "a", "b"], "as in the set")
    assert str(caught.value) == (
        "f.jsonl: row 3: no column 'a', 'b'; found: q, n, x, o; needed: q, a, b, as in the set"
    )
    with pytest.raises(UserError, match="found: 4 others; needed: q, a$"):
        check_columns(ROW, ["q", "a"], is_confidential=True)


def test_a_column_that_may_have_been_meant() -> None:
    row = TableRow("f.jsonl: row 0", 0, {"Question": "?", "anwser": "1", "level": 3})
    with pytest.raises(UserError, match=r"needed: question, level; did you mean Question\?$"):
        check_columns(row, ["question", "level"])
    with pytest.raises(UserError, match=r"did you mean Question and anwser\?$"):
        check_columns(row, ["question", "answer", "domain"])
    with pytest.raises(UserError) as caught:
        check_columns(row, ["question"], is_confidential=True)
    assert "Question" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_files(tmp_path: Path, suffix: str) -> None:
    values = [{"q": "é, ü", "a": "1"}, {"q": 'two\n"lines"', "a": "2"}]
    path = tmp_path / f"f.{suffix}"
    if suffix == "jsonl":
        write(path, *values)
    elif suffix == "json":
        path.write_text(json.dumps(values), encoding="utf-8")
    elif suffix == "csv":
        path.write_text('\ufeffq,a\n"é, ü",1\n"two\n""lines""",2\n', encoding="utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(values), path)
    found = list(file_rows(str(path)))
    assert [row.values for row in found] == values
    assert found[1].place == f"{path}: row 1 (counted from 0)"


def test_a_broken_file_is_named_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"q": "secret\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"f\.jsonl: row 0") as caught:
        list(file_rows(str(path)))
    assert "secret" not in str(caught.value)
    path = tmp_path / "f.csv"
    path.write_bytes(b"q\nsecret\xff\n")
    with pytest.raises(UserError, match=r"f\.csv: is no UTF-8") as caught:
        list(file_rows(str(path)))
    assert "secret" not in str(caught.value)


def test_any_first_n_have_their_share_of_each_domain() -> None:
    problems = [
        Problem(f"{domain}{n}", "?", "A", "letter", domain)
        for domain, count in (("x", 60), ("y", 30), ("z", 10))
        for n in range(count)
    ]
    mixed = interleaved(problems, seed=0)
    assert sorted(mixed, key=lambda p: p.id) == sorted(problems, key=lambda p: p.id)
    for n in range(1, 101):
        counts = Counter(problem.domain for problem in mixed[:n])
        for domain, share in (("x", 0.6), ("y", 0.3), ("z", 0.1)):
            assert abs(counts[domain] - share * n) <= 1, (n, counts)
    assert interleaved(problems[::-1], seed=0) == mixed
    assert interleaved(problems, seed=1) != mixed
    numbers = [int(problem.id[1:]) for problem in mixed if problem.domain == "x"]
    assert numbers != sorted(numbers)


def test_variants_are_orders_of_the_same_options(tmp_path: Path) -> None:
    benchmark = Colours(write(tmp_path / "c.jsonl", *rows_of(2)))
    for problem in benchmark.problems():
        gold = {"q0": "red", "q1": "green"}[problem.id]
        assert benchmark.variant(problem, 0) == problem
        seen = set()
        for repeat in range(12):
            asked = benchmark.variant(problem, repeat)
            assert asked == benchmark.variant(problem, repeat)
            assert asked.id == problem.id
            assert f"{asked.reference_answer}) {gold}" in asked.question
            texts = asked.metadata["option_texts"]
            assert texts["ABC".index(asked.reference_answer)] == gold
            seen.add(texts)
        assert len(seen) > 2
    assert benchmark.baselines(benchmark.problems()) == {"chance": pytest.approx(1 / 3)}


def test_a_letter_problem_keeps_its_parts() -> None:
    options = Options(("red", "green"), 1)
    problem = letter_problem("q", "Which?", options, stem="s", domain="d", field="f")
    assert problem == Problem(
        id="q",
        question="Which?",
        reference_answer="B",
        kind="letter",
        domain="d",
        metadata={"options": "AB", "option_texts": ("red", "green"), "stem": "s", "field": "f"},
    )


@pytest.mark.parametrize(
    ("kind", "reference", "right", "wrong"),
    [
        ("letter", "C", ["C", "c"], ["B", "CC", ""]),
        ("number", "1234", ["1,234", "1234.0", "$1234$"], ["123", "1235", "many"]),
        ("boxed", r"\frac{1}{2}", [r"\frac{1}{2}", "0.5"], ["2", r"\frac{1}{3}"]),
        ("exact", "New York", ["new  york"], ["York"]),
    ],
)
def test_grading_by_kind(kind: Any, reference: str, right: list[str], wrong: list[str]) -> None:
    problem = Problem("q", "?", reference, kind)
    benchmark = Colours()
    assert all(benchmark.grade(problem, answer) for answer in right)
    assert not any(benchmark.grade(problem, answer) for answer in wrong)


def test_the_version_tells_the_data(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", *rows_of(2))
    first = Colours(path).version
    assert first.startswith("1 (c.jsonl, sha256 ")
    write(tmp_path / "c.jsonl", *rows_of(1))
    assert Colours(path).version != first
    assert Colours().version == "1 (owner/colours at abc)"
    assert Colours(revision="main").version == "1 (owner/colours at main)"


def test_another_number_of_rows_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(Colours(write(tmp_path / "c.jsonl", *rows_of(2))).problems()) == 2
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert len(Colours(write(tmp_path / "d.jsonl", *rows_of(3))).problems()) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'd.jsonl'} has 3 rows, the published set 2"
    ]


def test_the_hub_is_asked_for_the_documented_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, *, split: str, revision: str) -> Iterator[Any]:
        asked.append((name, config, split, revision))
        return iter(rows_of(2))

    monkeypatch.setattr("datasets.load_dataset", load)
    assert len(Colours().problems()) == 2
    Colours(revision="main").problems()
    place = ("owner/colours", None, "test")
    assert asked == [(*place, "abc"), (*place, "main")]


def test_without_network_it_asks_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, *_: object, **__: object) -> None:
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub\nand more")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError) as caught:
        Colours().problems()
    assert str(caught.value) == (
        "Colours: path is null, but owner/colours cannot be loaded: Couldn't reach "
        "'owner/colours' on the Hub; give path, a file of "
        "https://huggingface.co/datasets/owner/colours"
    )


def test_no_file() -> None:
    with pytest.raises(UserError, match=r"path is 'nowhere\.jsonl', which is no file; get the set"):
        Colours("nowhere.jsonl").problems()


def test_ids_of_texts() -> None:
    assert text_id("a", "b") == text_id("a", "b") != text_id("b", "a")
    assert len(text_id("a")) == 12
