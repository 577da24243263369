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


LAST_SHOT = (
    "Q: Olivia has $23. She bought five bagels for $3 each. How much money does she have left?\n"
    "A: Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = 15 dollars. So she has "
    "23 - 15 dollars left. 23 - 15 is 8. The answer is 8."
)


def test_shots(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", {"question": "1 + 1? ", "answer": "#### 2"})
    two = GSM8K(path, num_shots=2).problems()[0]
    assert two.question == (
        "Q: There are 15 trees in the grove. Grove workers will plant trees in the grove today. "
        "After they are done, there will be 21 trees. How many trees did the grove workers plant "
        "today?\n"
        "A: There are 15 trees originally. Then there were 21 trees after some more were planted. "
        "So there must have been 21 - 15 = 6. The answer is 6.\n\n"
        "Q: If there are 3 cars in the parking lot and 2 more cars arrive, how many cars are in "
        "the parking lot?\n"
        "A: There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5. The answer is 5.\n\n"
        "Q: 1 + 1?"
    )
    (eight,) = GSM8K(path, num_shots=8).problems()
    assert eight.question.endswith(f"{LAST_SHOT}\n\nQ: 1 + 1?")
    assert eight.question.count("The answer is") == eight.question.count("\nA: ") == 8
    (none,) = GSM8K(path).problems()
    assert two.metadata["stem"] == none.metadata["stem"] == "1 + 1?"
    assert (two.id, two.reference_answer) == (none.id, none.reference_answer)


def test_shots_are_told_in_the_version(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", {"question": "?", "answer": "#### 2"})
    none = GSM8K(path).version
    assert none == GSM8K(path, num_shots=0).version
    assert GSM8K(path, num_shots=8).version == f"{none}, shots: 8 of arXiv:2201.11903, table 20"
    assert len({GSM8K(path, num_shots=number).version for number in range(9)}) == 9


@pytest.mark.parametrize("num_shots", [-1, 9])
def test_too_many_shots(num_shots: int) -> None:
    with pytest.raises(UserError, match=f"^GSM8K: num_shots is {num_shots}; allowed: 0 to 8$"):
        GSM8K(num_shots=num_shots)


@pytest.mark.parametrize(
    ("response", "answer", "rule"),
    [
        ("5 + 4 = 9. The answer is 9.", "9", "answer_is"),
        ("It is 9, so 18 in all. The answer is 1,018.\n", "1,018", "answer_is"),
        ("She pays 3 x 4 = 12.\nThe answer is $12.50.", "12.50", "answer_is"),
        ("It is <<9*2=18>>18.\n#### 18", "18", "hashes"),
        ("Q: 2 + 2?\nA: The answer is 4.\n\n#### -1,200", "-1,200", "hashes"),
    ],
)
def test_the_answer_of_the_shots_format(response: str, answer: str, rule: str) -> None:
    found = extract(response, "number")
    assert (found.answer, found.rule) == (answer, rule)


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
