"""A benchmark from a file, by YAML alone."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from evals.file_benchmark import FileBenchmark
from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, check_benchmarks
from nt_lightning.evaluation.extraction import extract

DATA = Path(__file__).parents[4] / "shared" / "data" / "benchmarks"
real = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/benchmarks is not here")


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return str(path)


def choice(**changes: object) -> dict[str, object]:
    values = {"question": "Sky?", "choices": ["red", "blue", "green"], "answer": "blue"}
    return {**values, "topic": "nature", **changes}


def chosen(path: str, **changes: object) -> FileBenchmark:
    given = {"options": "choices", "reference": "answer", "domain": "topic", **changes}
    return FileBenchmark("sky", path, **given)  # type: ignore[arg-type]


def test_options_of_a_list(tmp_path: Path) -> None:
    benchmark = chosen(write(tmp_path / "f.jsonl", choice()))
    (problem,) = benchmark.problems()
    assert problem.question == (
        "Answer the following multiple choice question. The last line of your response should be "
        "of the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of A, B, "
        "or C.\n\nSky?\n\nA) red\nB) blue\nC) green"
    )
    assert (problem.kind, problem.reference_answer, problem.domain) == ("letter", "B", "nature")
    assert benchmark.variant(problem, 3) is problem
    assert [benchmark.grade(problem, letter) for letter in "ABCb"] == [False, True, False, True]
    check_benchmarks([benchmark])


def test_by_yaml_alone(tmp_path: Path) -> None:
    """A table with one column per option, its letters, another instruction, shuffled."""
    table = tmp_path / "t.csv"
    table.write_text("nr,q,one,two,gold,field\n1,Sky?,red,blue,B,a\n2,Sea?,wet,dry,A,b\n")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "benchmark:\n"
        "  class_path: evals.file_benchmark.FileBenchmark\n"
        "  init_args:\n"
        "    name: mine\n"
        f"    path: {table}\n"
        "    question: q\n"
        "    options: [one, two]\n"
        "    reference: gold\n"
        "    domain: field\n"
        "    id: nr\n"
        "    instruction: Say {letters}.\n"
        "    is_shuffled: true\n"
        "    is_confidential: true\n"
    )
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--benchmark", type=Benchmark)
    made = parser.instantiate_classes(parser.parse_args(["--config", str(recipe)])).benchmark
    assert (made.name, made.is_confidential) == ("mine", True)
    golds = {"1": "blue", "2": "wet"}
    for problem in made.problems():
        for repeat in range(10):
            asked = made.variant(problem, repeat)
            assert asked.question.startswith("Say A or B.\n\nS")
            assert f"{asked.reference_answer}) {golds[asked.id]}" in asked.question.split("\n")
        assert made.variant(problem, 0) == problem
    assert len({made.variant(problem, repeat).reference_answer for repeat in range(10)}) == 2


@pytest.mark.parametrize(
    ("kind", "reference", "instruction", "right", "wrong"),
    [
        (None, "\\frac{1}{2}", "Put your final answer within \\boxed{}.", "0.5", "2"),
        (
            "number",
            1250,
            "The last line of your response should be of the form 'Answer: $ANSWER' (without "
            "quotes) where $ANSWER is the answer to the problem.",
            "1,250",
            "125",
        ),
        (
            "exact",
            "New York",
            "The last line of your response should be of the form 'Answer: $ANSWER' (without "
            "quotes) where $ANSWER is the answer to the problem.",
            "new york",
            "York",
        ),
    ],
)
def test_reference_answers(
    tmp_path: Path, kind: str, reference: object, instruction: str, right: str, wrong: str
) -> None:
    path = write(tmp_path / "f.jsonl", {"question": "Q?", "reference_answer": reference})
    benchmark = FileBenchmark("mine", path, kind=kind)  # type: ignore[arg-type]
    (problem,) = benchmark.problems()
    assert problem.question == f"Q?\n\n{instruction}"
    assert problem.domain == ""
    assert benchmark.grade(problem, right)
    assert not benchmark.grade(problem, wrong)
    plain = FileBenchmark("mine", path, kind=kind, instruction="")  # type: ignore[arg-type]
    assert plain.problems()[0].question == "Q?"
    assert plain.version != benchmark.version


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"answer": "yellow"}, 0),
        ({"answer": "D"}, 0),
        ({"answer": "red", "choices": ["red", "red"]}, 2),
        ({"answer": "A", "choices": ["B", "A"]}, 2),  # the first by letter, the second by text
    ],
)
def test_what_is_right_must_be_clear(
    tmp_path: Path, changes: dict[str, object], named: int
) -> None:
    with pytest.raises(UserError) as caught:
        chosen(write(tmp_path / "f.jsonl", choice(**changes))).problems()
    assert str(caught.value) == (
        f"{tmp_path / 'f.jsonl'}: row 0 (counted from 0): column 'answer' is the letter or the "
        f"text of {named} options; needed: of one"
    )


def test_an_option_that_is_its_own_letter(tmp_path: Path) -> None:
    row = choice(answer="B", choices=["A", "B"])
    assert chosen(write(tmp_path / "f.jsonl", row)).problems()[0].reference_answer == "B"


def test_ids_are_of_question_and_options(tmp_path: Path) -> None:
    rows = [choice(), choice(choices=["blue", "grey"])]
    ids = [problem.id for problem in chosen(write(tmp_path / "f.jsonl", *rows)).problems()]
    assert len(set(ids)) == 2
    again = chosen(write(tmp_path / "g.jsonl", *rows[::-1]))
    assert [problem.id for problem in again.problems()] == ids
    with pytest.raises(UserError, match="2 problems of benchmark 'sky' have the id"):
        check_benchmarks([chosen(write(tmp_path / "h.jsonl", choice(), choice()))])


def test_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", choice())
    with pytest.raises(UserError, match="row 0 .*: no column 'subject'; found: question, choices"):
        chosen(path, domain="subject").problems()
    with pytest.raises(UserError, match="no column 'subject'; found: 4 others; needed: question"):
        chosen(path, domain="subject", is_confidential=True).problems()
    with pytest.raises(UserError, match="FileBenchmark 'sky': path is 'no', which is no file"):
        chosen("no").problems()
    with pytest.raises(UserError, match="kind is 'letter' and options is None; allowed as kind th"):
        FileBenchmark("mine", path, kind="letter")
    with pytest.raises(UserError, match="kind is 'boxed' and options is 'choices'; .* letter$"):
        chosen(path, kind="boxed")
    with pytest.raises(UserError, match="is_shuffled is true, but options is null"):
        FileBenchmark("mine", path, is_shuffled=True)
    with pytest.raises(UserError, match="'answer' has a text that is no number"):
        FileBenchmark("mine", path, reference="answer", kind="number").problems()


@real
def test_mmlu_as_a_table(tmp_path: Path) -> None:
    """A subject of MMLU, whose files have no header; equal options are refused nowhere in it."""
    with zipfile.ZipFile(DATA / "mmlu.zip") as archive:
        text = archive.read("data/test/anatomy_test.csv").decode()
    table = tmp_path / "anatomy.csv"
    table.write_text(f"question,A,B,C,D,answer\n{text}", encoding="utf-8")
    benchmark = FileBenchmark(
        "mmlu", str(table), options=list("ABCD"), reference="answer", is_shuffled=True
    )
    problems = benchmark.problems()
    assert len(problems) == 135
    check_benchmarks([benchmark])
    counts = Counter(benchmark.variant(p, 1).reference_answer for p in problems)
    assert all(15 <= counts[letter] <= 55 for letter in "ABCD"), counts
    assert benchmark.baselines(problems) == {"chance": 0.25}


@real
def test_olympiad_mathematics() -> None:
    file = DATA / "OlymMATH-EN-EASY.jsonl"
    benchmark = FileBenchmark(
        "olym", str(file), question="problem", reference="answer", domain="subject", id="unique_id"
    )
    problems = benchmark.problems()
    assert len(problems) == 100
    assert len({problem.domain for problem in problems[:12]}) == 4
    for problem in problems[:10]:
        answer = extract(f"So \\boxed{{{problem.reference_answer}}}.", "boxed").answer
        assert answer == problem.reference_answer
        assert benchmark.grade(problem, answer)
