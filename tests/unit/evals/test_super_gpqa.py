"""SuperGPQA on made-up rows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evals.super_gpqa import SuperGPQA
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract


def row(**changes: object) -> dict[str, object]:
    values = {
        "uuid": "u1",
        "question": "Which?",
        "options": ["w", "x", "y", "z", "v"],
        "answer": "y",
        "answer_letter": "C",
        "discipline": "Law",
        "field": "Law",
        "subfield": "Civil Law",
        "difficulty": "hard",
        "is_calculation": False,
    }
    return {**values, **changes}


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return str(path)


def test_a_problem(tmp_path: Path) -> None:
    benchmark = SuperGPQA(write(tmp_path / "s.jsonl", row()))
    (problem,) = benchmark.problems()
    assert problem.question == (
        "Answer the following multiple choice question. There is only one correct answer. The last "
        "line of your response should be in the format 'Answer: $LETTER' (without quotes), where "
        "LETTER is one of A, B, C, D, or E.\n\nWhich?\nA) w\nB) x\nC) y\nD) z\nE) v"
    )
    assert (problem.reference_answer, problem.domain) == ("C", "Law")
    assert problem.metadata["difficulty"] == "hard"
    assert benchmark.variant(problem, 5) is problem
    for letter in "ABCDEF":
        answer = extract(f"Answer: {letter}", "letter", options="ABCDE").answer
        right = answer is not None and benchmark.grade(problem, answer)
        assert right == (letter == "C")
    assert benchmark.baselines([problem]) == {"chance": 0.2}


def test_disciplines_are_mixed(tmp_path: Path) -> None:
    rows = [row(uuid=f"u{n}", discipline=f"d{n % 13}") for n in range(130)]
    problems = SuperGPQA(write(tmp_path / "s.jsonl", *rows)).problems()
    assert len(problems) == 130
    # 39 / 130 of each discipline's 10 problems, to within one
    counts = Counter(p.domain for p in problems[:39])
    assert set(counts) == {f"d{n}" for n in range(13)}
    assert all(2 <= count <= 4 for count in counts.values())


def test_mistakes(tmp_path: Path) -> None:
    bad = row()
    del bad["discipline"]
    with pytest.raises(UserError, match=r"s\.jsonl: row 1 .*: no column 'discipline'; found: uuid"):
        SuperGPQA(write(tmp_path / "s.jsonl", row(), bad)).problems()
    with pytest.raises(UserError, match="row 0 .*letter of the right option is none of 5 options"):
        SuperGPQA(write(tmp_path / "s.jsonl", row(answer_letter="F"))).problems()
