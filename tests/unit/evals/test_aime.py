"""AIME: the rule of its answers, and the problems of 2024 as others have asked them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.aime import AIME2024, AIME2025
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract

RAW = Path(__file__).parents[4] / "shared" / "data" / "reasoningflow" / "data_raw" / "v1"
FILE = RAW / "DeepSeek-R1_aime2024_responses.jsonl"
real = pytest.mark.skipif(not FILE.is_file(), reason="../shared/data/reasoningflow is not here")


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("benchmark", [AIME2024, AIME2025])
def test_a_problem(tmp_path: Path, benchmark: type[AIME2024]) -> None:
    path = write(tmp_path / "a.jsonl", {"id": 60, "problem": "Find $n$.\n", "answer": "025"})
    (problem,) = benchmark(path).problems()
    assert problem.question == "Find $n$.\n\nPut your final answer within \\boxed{}."
    assert (problem.id, problem.kind, problem.reference_answer) == ("60", "boxed", "25")


@pytest.mark.parametrize(
    ("written", "reference"), [("336^\\circ", "336"), ("7^{\\circ}", "7"), (" 0 ", "0"), (9, "9")]
)
def test_answers(tmp_path: Path, written: object, reference: str) -> None:
    path = write(tmp_path / "a.jsonl", {"id": "1", "problem": "?", "answer": written})
    (problem,) = AIME2025(path).problems()
    assert problem.reference_answer == reference


@pytest.mark.parametrize("answer", ["1000", "-3", "1/2", "n"])
def test_no_answer_of_this_competition(tmp_path: Path, answer: str) -> None:
    path = write(tmp_path / "a.jsonl", {"id": "1", "problem": "?", "answer": answer})
    with pytest.raises(UserError, match="row 0 .*'answer' has no whole number from 0 to 999"):
        AIME2024(path).problems()


def test_grading(tmp_path: Path) -> None:
    benchmark = AIME2024(write(tmp_path / "a.jsonl", {"id": "1", "problem": "?", "answer": "033"}))
    (problem,) = benchmark.problems()
    for box, right in [("33", True), ("033", True), ("33^\\circ", True), ("34", False)]:
        answer = extract(f"So \\boxed{{{box}}}", problem.kind).answer
        assert answer is not None
        assert benchmark.grade(problem, answer) == right


def test_years_are_two_benchmarks() -> None:
    assert (AIME2024.name, AIME2025.name) == ("aime_2024", "aime_2025")
    assert AIME2024().version != AIME2025().version


def test_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'problem', 'answer'; found: id; needed: id, p"):
        AIME2025(write(tmp_path / "a.jsonl", {"id": "1"})).problems()


@real
def test_2024(tmp_path: Path) -> None:
    lines = FILE.read_text(encoding="utf-8").strip().split("\n")
    rows = [
        {"id": row["question_id"], "problem": row["question"], "answer": row["correct_answer"]}
        for row in map(json.loads, lines)
    ]
    benchmark = AIME2024(write(tmp_path / "a.jsonl", *rows))
    problems = benchmark.problems()
    assert len(problems) == 30
    for problem in problems:
        assert 0 <= int(problem.reference_answer) <= 999
        assert benchmark.grade(problem, problem.reference_answer)
        assert not benchmark.grade(problem, str(int(problem.reference_answer) + 1))
