"""GSM8K on the real file, and what a wrong file says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evals.gsm8k import GSM8K
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract

FILE = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"
real = pytest.mark.skipif(not FILE.is_file(), reason="../shared/data/gsm8k is not here")


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return str(path)


def test_a_problem(tmp_path: Path) -> None:
    row = {"question": "1,000 + 1? ", "answer": "It is <<1000+1=1001>>1001.\n#### 1,001"}
    (problem,) = GSM8K(write(tmp_path / "g.jsonl", row)).problems()
    assert problem.question == (
        "Solve this math problem. Give the final answer on the last line by itself in the format "
        'of "Answer:". Do not add anything other than the integer answer after "Answer:".\n\n'
        "1,000 + 1?"
    )
    assert (problem.kind, problem.reference_answer, problem.domain) == ("number", "1001", "")


@pytest.mark.parametrize("answer", ["It is 5.", "#### five", "####"])
def test_no_number(tmp_path: Path, answer: str) -> None:
    path = write(tmp_path / "g.jsonl", {"question": "?", "answer": answer})
    with pytest.raises(UserError, match=r"row 0 .*: column 'answer' has no number behind '####'"):
        GSM8K(path).problems()


def test_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'answer'; found: question; needed: question, a"):
        GSM8K(write(tmp_path / "g.jsonl", {"question": "?"})).problems()


@real
def test_all_problems() -> None:
    """The gold solutions are read and graded right, and the next number is wrong."""
    benchmark = GSM8K(str(FILE))
    problems = benchmark.problems()
    assert len(problems) == len({problem.id for problem in problems}) == 1_319
    lines = FILE.read_text(encoding="utf-8").strip().split("\n")
    solutions = {row["question"].strip(): row["answer"] for row in map(json.loads, lines)}
    for problem in problems:
        assert re.fullmatch(r"-?\d+", problem.reference_answer)
        for response in (
            solutions[problem.metadata["stem"]],
            f"Half of 7 is 3.5.\nAnswer: {int(problem.reference_answer):,}",
            f"Answer: ${problem.reference_answer}.00",
        ):
            answer = extract(response, "number").answer
            assert answer is not None
            assert benchmark.grade(problem, answer), (problem, response, answer)
        assert not benchmark.grade(problem, str(int(problem.reference_answer) + 1))
    assert benchmark.baselines(problems) == {}
