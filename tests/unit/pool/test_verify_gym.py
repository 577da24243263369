"""Questions of reasoning-gym, made again and judged by its scorers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import reasoning_gym

from nt_lightning.pool.embedded import EmbeddedPool, held_out_questions
from nt_lightning.pool.verification import gym
from nt_lightning.pool.verification.gym import (
    gym_answer,
    is_gym,
    is_safe,
    judge_gym,
)

CONFIG = {"seed": 45, "size": 50}


def row_of(family: str, answer: str, index: int = 3, **changes: Any) -> dict[str, Any]:
    entry = reasoning_gym.create_dataset(family, **CONFIG)[index]
    row = {
        "id": "a",
        "question": entry["question"],
        "answer": answer.format(entry["answer"]),
        "source": f"reasoning_gym/{family}",
        "reasoning_gym": json.dumps({"config": CONFIG, "index": index}),
    }
    return {**row, **changes}


def test_right_and_wrong() -> None:
    assert judge_gym(row_of("gcd", "<answer>{}</answer>")) == (True, "reasoning-gym")
    assert judge_gym(row_of("gcd", "Answer: {}")) == (True, "reasoning-gym")
    assert judge_gym(row_of("gcd", "<answer>9{}</answer>")) == (False, "reasoning-gym")
    assert judge_gym(row_of("spell_backward", "Answer: x{}")) == (False, "reasoning-gym")


def test_partial_credit_is_wrong() -> None:
    assert judge_gym(row_of("spiral_matrix", "<answer>[1, 2]</answer>")).correct is False


def test_another_question() -> None:
    changed = row_of("gcd", "Answer: {}", question="What is the gcd of 3 and 7?")
    assert judge_gym(changed) == (None, "question differs")


def test_another_wording_of_the_same_data_with_the_same_answer() -> None:
    row = row_of("spiral_matrix", "<answer>{}</answer>")
    question, answer = row["question"], row["answer"].removeprefix("<answer>")[:-9]
    data = "\n".join(line for line in question.split("\n") if line and line[0].isdigit())
    reworded = {**row, "question": f"Read it in a spiral:\n{data}", "reference_answer": answer}
    assert judge_gym(reworded) == (True, "reasoning-gym")
    assert judge_gym({**reworded, "answer": "<answer>1 2</answer>"}) == (False, "reasoning-gym")
    for change in (
        {"reference_answer": None},
        {"reference_answer": answer[::-1]},
        {"question": f"Read it in a spiral:\n{data[::-1]}"},
        {"question": "Read it in a spiral."},
    ):
        assert judge_gym({**reworded, **change}) == (None, "question differs")


def test_other_families_have_to_be_the_same_word_by_word() -> None:
    row = row_of("binary_matrix", "<answer>{}</answer>")
    answer = row["answer"].removeprefix("<answer>")[:-9]
    changed = {**row, "question": row["question"] + " Twice.", "reference_answer": answer}
    assert judge_gym(changed) == (None, "question differs")


@pytest.mark.parametrize(
    "given",
    [None, "{", "[]", "{}", '{"config": {}, "index": -1}', '{"config": 3, "index": 1}']
    + ['{"config": {"seed": 1}, "index": 0, "family": "no_such"}'],
)
def test_without_a_config(given: str | None) -> None:
    assert judge_gym(row_of("gcd", "Answer: {}", reasoning_gym=given)) == (None, "no config")


def test_an_object_with_gaps_and_a_family_of_its_own() -> None:
    given = {"family": "gcd", "config": {**CONFIG, "rows": None}, "index": 3}  # as Arrow fills it
    row = row_of("gcd", "Answer: {}", reasoning_gym=given, source="mine")
    assert is_gym(row)
    assert judge_gym(row).correct is True
    assert not is_gym({"source": "gsm8k", "reasoning_gym": None})


@pytest.mark.parametrize(
    ("text", "answer", "is_announced"),
    [
        ("<answer>1</answer> no <answer>\n2 3\n</answer>", "2 3", True),
        ("so <answer></answer>", None, True),
        ("so <answer>4", None, False),
        ("The answer is **4**.", "4", True),
        ("1 2\n3 4", "1 2\n3 4", False),
        ("4", "4", True),
    ],
)
def test_gym_answer(text: str, answer: str | None, is_announced: bool) -> None:
    assert gym_answer(text) == (answer, is_announced)


def test_an_answer_that_nobody_announced_is_never_wrong() -> None:
    assert judge_gym(row_of("rotate_matrix", "{}")).correct is True
    assert judge_gym(row_of("gcd", "I think\nit is 0 or so")) == (None, "no answer")


def test_rows_of_the_embedded_pool_need_no_config() -> None:
    rows = EmbeddedPool(num_questions=40, seed=3).make().to_pylist()
    assert {judge_gym(row) for row in rows} == {(True, "reasoning-gym")}
    wrong = [judge_gym({**row, "answer": "Answer: nothing"}).correct for row in rows]
    assert set(wrong) == {False}
    moved = {**rows[0], "question": rows[1 + len(rows) // 2]["question"]}
    assert judge_gym(moved) == (None, "question differs")
    assert judge_gym({**rows[0], "id": "mine"}) == (None, "no config")


def test_held_out_questions_too() -> None:
    asked = held_out_questions(num_problems=16, seed=1)[5]
    row = {
        "id": f"{asked.id}/llama/0",
        "question": asked.question,
        "answer": f"Answer: {asked.reference_answer}",
        "source": f"reasoning_gym/{asked.family}",
    }
    assert judge_gym(row).correct is True


@pytest.mark.parametrize("family", sorted(gym.PARSING))
def test_no_answer_runs_as_a_program(family: str, tmp_path: Path) -> None:
    for answer in (
        "__import__('os').system('true')",
        "exec(chr(49))",
        "sympify(x)",
        "x.func",
        "open(1)",
        "exit()",
        "(lambda: 1)()",
    ):
        assert not is_safe(family, answer)
    assert is_safe(family, "(2/3)*cos(24*x - 6) + 2.5*max(8, 2) - x**2/2 + log(x)*exp(1) + C")
    assert is_safe("gcd", "don't")


@pytest.mark.parametrize("family", gym.EVALUATING)
def test_lists_are_read_and_nothing_else(family: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    program = f"<answer>[open({str(made)!r}, 'w')]</answer>"
    assert judge_gym(row_of(family, program.replace("{", "{{").replace("}", "}}"))).correct is False
    assert not made.exists()


def test_the_lists_of_dangerous_scorers_are_complete() -> None:
    """What evaluates text in the installed reasoning-gym; a new version may do it elsewhere."""
    root = Path(reasoning_gym.__file__).parent
    found = {
        path.stem
        for path in root.rglob("*.py")
        if re.search(r"(?<![\w.])(?:eval|exec|parse_expr|sympify)\(", path.read_text("utf-8"))
    }
    on_own_text = {  # of the generators: questions, gold answers, programs to be shown
        *("codeio", "number_sorting", "bitwise_arithmetic", "basic_arithmetic"),
        *("generators_00_49", "generators_50_99", "propositional_logic"),
    }
    with_dot = {"simple_integration", "intermediate_integration", "polynomial_multiplication"}
    assert found | with_dot == {*gym.EVALUATING, *gym.PARSING, *on_own_text}
