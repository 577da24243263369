"""MATH-500 on the real file, and what a wrong file says."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from evals.math_500 import Math500
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract

FILE = Path(__file__).parents[4] / "shared" / "data" / "benchmarks" / "math500_test.jsonl"
real = pytest.mark.skipif(not FILE.is_file(), reason="../shared/data/benchmarks is not here")
# Without NT_MATH_500=all a sample: the first 100 of the seeded order.
SAMPLE = None if os.environ.get("NT_MATH_500") == "all" else 100


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


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*huggingface.co/datasets/HuggingFaceH4/MATH-500"):
        Math500(str(tmp_path / "nowhere.jsonl")).problems()


def test_a_missing_column_is_named_with_its_line(tmp_path: Path) -> None:
    bad = row()
    del bad["answer"]
    path = write(tmp_path / "m.jsonl", row(), bad)
    with pytest.raises(UserError, match=r"m\.jsonl, line 2 has no column 'answer'"):
        Math500(path).problems()


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"problem": \n', encoding="utf-8")
    with pytest.raises(UserError, match="line 1"):
        Math500(str(path)).problems()


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(row())}\n \n\n", encoding="utf-8")
    assert len(Math500(str(path)).problems()) == 1
    path.write_text(f"{json.dumps(row())}\n\n{{\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3"):
        Math500(str(path)).problems()


def test_without_network_it_asks_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> None:
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(UserError, match=r"Couldn't reach .*; give path, the file test\.jsonl of"):
        Math500().problems()


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
    problems = benchmark.problems()[:SAMPLE]
    wrong = []
    for problem in problems:
        answer = extract(solutions[problem.id], "boxed").answer
        if answer is None or not benchmark.grade(problem, answer):
            wrong.append((problem.id, problem.reference_answer, answer))
    assert wrong == []


@real
def test_answers_of_other_problems_are_wrong() -> None:
    benchmark = Math500(str(FILE))
    problems = benchmark.problems()[:60]
    for problem, other in zip(problems, problems[1:], strict=False):
        if problem.reference_answer.strip("$ ") != other.reference_answer:
            assert not benchmark.grade(problem, other.reference_answer)
