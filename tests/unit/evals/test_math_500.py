"""MATH-500 on the real file, and what a wrong file says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evals.math_500 import Math500
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.grading import UngradedError

FILE = Path(__file__).parents[4] / "shared" / "data" / "benchmarks" / "math500_test.jsonl"
real = pytest.mark.skipif(not FILE.is_file(), reason="../shared/data/benchmarks is not here")


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def row(**changes: object) -> dict[str, object]:
    values = {"problem": "1+1?\u2028", "answer": "2", "subject": "Algebra", "level": 1}
    return {**values, "unique_id": "test/algebra/1.json", **changes}


def test_a_problem(tmp_path: Path) -> None:
    (problem,) = Math500(write(tmp_path / "m.jsonl", row())).problems()
    assert problem.question == "1+1?\u2028\n\nPut your final answer within \\boxed{}."
    assert (problem.kind, problem.reference_answer, problem.domain) == ("boxed", "2", "Algebra")
    assert (problem.id, problem.metadata["level"]) == ("test/algebra/1.json", 1)
    assert problem.metadata["stem"] == "1+1?\u2028"


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*huggingface.co/datasets/HuggingFaceH4/MATH-500"):
        Math500(str(tmp_path / "nowhere.jsonl")).problems()


def test_a_missing_column_is_named_with_its_line(tmp_path: Path) -> None:
    bad = row()
    del bad["answer"]
    path = write(tmp_path / "m.jsonl", row(), bad)
    with pytest.raises(UserError, match=r"m\.jsonl: row 1 .*: no column 'answer'; found: problem,"):
        Math500(path).problems()


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"problem": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"m\.jsonl: row 0 .*is no JSON"):
        Math500(str(path)).problems()


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(row())}\n \n\n", encoding="utf-8")
    assert len(Math500(str(path)).problems()) == 1
    path.write_text(f"{json.dumps(row())}\n\n{{\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 2 "):
        Math500(str(path)).problems()


@real
def test_the_order_is_seeded_and_mixes_subjects() -> None:
    problems = Math500(str(FILE)).problems()
    assert len(problems) == len({p.id for p in problems}) == 500
    assert [p.id for p in problems] == [p.id for p in Math500(str(FILE)).problems()]
    assert [p.id for p in problems] != [p.id for p in Math500(str(FILE), seed=1).problems()]
    assert len(Counter(p.domain for p in problems[:40])) == 7


@real
def test_gold_solutions_are_right() -> None:
    """The box of each gold solution is extracted and graded right."""
    solutions = {
        values["unique_id"]: values["solution"]
        for values in map(json.loads, FILE.read_text(encoding="utf-8").strip().split("\n"))
    }
    benchmark = Math500(str(FILE))
    problems = benchmark.problems()
    wrong = []
    for problem in problems:
        answer = extract(solutions[problem.id], "boxed").answer
        if answer is None or not benchmark.grade(problem, answer):
            wrong.append((problem.id, problem.reference_answer, answer))
    assert wrong == []


def test_a_wrong_answer_and_none_that_is_certain(tmp_path: Path) -> None:
    """Options that the problem shows count; a doubt is no verdict."""
    options = row(problem="Which? (A) 3 (B) 4 (C) 12", answer="\\text{(B)}", unique_id="b")
    rounded = row(answer="\\frac{1}{3}", unique_id="c")
    benchmark = Math500(write(tmp_path / "m.jsonl", row(), options, rounded))
    by_id = {problem.id: problem for problem in benchmark.problems()}
    assert not benchmark.grade(by_id["test/algebra/1.json"], "3")
    assert benchmark.grade(by_id["b"], "4")
    assert benchmark.grade(by_id["b"], "B")
    assert not benchmark.grade(by_id["b"], "12")
    with pytest.raises(UngradedError, match="rounding: '0.33'"):
        benchmark.grade(by_id["c"], "0.33")
