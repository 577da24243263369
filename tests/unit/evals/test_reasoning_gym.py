"""The held-out benchmark on the embedded pool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import reasoning_gym

from evals.reasoning_gym import UNSTABLE, ReasoningGym, ReasoningGymHeldOut
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.grading import UngradedError


def test_families_take_turns() -> None:
    benchmark = ReasoningGymHeldOut(num_problems=5, families=["chain_sum", "aiw"], seed=3)
    problems = benchmark.problems()
    families = [problem.metadata["family"] for problem in problems]
    assert families == ["chain_sum", "aiw", "chain_sum", "aiw", "chain_sum"]
    assert {problem.kind for problem in problems} == {"exact"}
    again = ReasoningGymHeldOut(num_problems=5, families=["chain_sum", "aiw"], seed=3)
    assert again.problems() == problems
    other = ReasoningGymHeldOut(num_problems=5, families=["chain_sum", "aiw"], seed=4)
    assert other.problems() != problems


def test_reference_answers_are_extracted_and_graded_right() -> None:
    benchmark = ReasoningGymHeldOut(num_problems=64)
    problems = benchmark.problems()
    assert len(problems) == len({problem.id for problem in problems}) == 64
    families = Counter(problem.metadata["family"] for problem in problems)
    assert {problem.metadata["family"] for problem in problems[: len(families)]} == set(families)
    for problem in problems:
        response = f"<think>\nAnswer: nothing\n</think>\n\nAnswer: {problem.reference_answer}"
        answer = extract(response, problem.kind).answer
        assert answer is not None
        assert benchmark.grade(problem, answer), problem
        assert not benchmark.grade(problem, "nothing of the sort")


@pytest.mark.parametrize(("asked", "limit"), [(41, 0.5), (23, 1)])
def test_baselines_are_means_over_the_questions_asked(asked: int, limit: float) -> None:
    """Each family's best constant answer, played against its own questions."""
    benchmark = ReasoningGymHeldOut(num_problems=41)
    problems = benchmark.problems()[:asked]
    answers: dict[str, Counter[str]] = {}
    for problem in problems:
        family = problem.metadata["family"]
        answers.setdefault(family, Counter())[problem.reference_answer] += 1
    majority = sum(counts.most_common(1)[0][1] for counts in answers.values()) / asked
    chance = sum(counts.total() / len(counts) for counts in answers.values()) / asked
    expected = {"chance": pytest.approx(chance), "majority": pytest.approx(majority)}
    assert benchmark.baselines(problems) == expected
    assert 0 < chance <= majority < limit


def test_mistakes_name_what_is_allowed() -> None:
    with pytest.raises(UserError, match="no_such"):
        ReasoningGymHeldOut(families=["no_such"]).problems()
    with pytest.raises(UserError, match="easy"):
        ReasoningGymHeldOut(level="trivial").problems()


def test_the_version_tells_the_generators() -> None:
    assert ReasoningGymHeldOut.version.startswith("1 (reasoning-gym 0.")


FAMILIES = ["chain_sum", "spiral_matrix", "countdown", "sentence_reordering", "word_ladder"]


def test_any_families_by_name() -> None:
    """The generator's own questions; reference answers come back right through the tags."""
    benchmark = ReasoningGym(
        FAMILIES, num_problems=11, seed=3, settings={"chain_sum": {"min_terms": 5, "max_terms": 5}}
    )
    problems = benchmark.problems()
    assert [problem.id.split("-")[0] for problem in problems] == [*FAMILIES, *FAMILIES, "chain_sum"]
    made = reasoning_gym.create_dataset("chain_sum", seed=3, size=3, min_terms=5, max_terms=5)
    chains = [problem for problem in problems if problem.id.startswith("chain_sum")]
    assert [problem.metadata["stem"] for problem in chains] == [
        made[i]["question"] for i in range(3)
    ]
    assert {problem.domain for problem in chains} == {"arithmetic"}
    for problem in problems:
        response = f"<answer>x</answer></think>\n<answer>\n{problem.reference_answer}\n</answer>"
        answer = extract(response, problem.kind).answer
        assert answer == problem.reference_answer.strip()
        assert benchmark.grade(problem, answer), problem
        assert not benchmark.grade(problem, "nothing of the sort")
    again = ReasoningGym(FAMILIES, num_problems=11, seed=4).problems()
    assert [problem.question for problem in again] != [problem.question for problem in problems]


def test_an_answer_that_is_a_program_has_no_verdict() -> None:
    benchmark = ReasoningGym(["countdown"], num_problems=1)
    (problem,) = benchmark.problems()
    with pytest.raises(UngradedError, match="unsafe"):
        benchmark.grade(problem, "__import__('os').getcwd()")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ["no_such"]}, "families is .*'no_such'.*allowed: .*chain_sum"),
        ({"families": ["ransom_note"]}, "families is .*'ransom_note'"),
        ({"families": []}, "families is"),
        ({"families": ["chain_sum"], "num_problems": 0}, "num_problems is 0"),
        (
            {"families": ["chain_sum"], "settings": {"aiw": {}}},
            "settings names 'aiw'; allowed: chain",
        ),
        (
            {"families": ["chain_sum"], "settings": {"chain_sum": {"terms": 1}}},
            "chain_sum are .*'terms'",
        ),
        ({"families": ["chain_sum"], "settings": {"chain_sum": {"min_terms": 9}}}, "refuses them"),
    ],
)
def test_mistakes_in_families(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReasoningGym(**arguments).problems()


def test_refused_families_differ_between_processes() -> None:
    """Each of them makes another question with another hash seed."""
    code = (
        "import json, sys, reasoning_gym\n"
        f"names = {sorted(UNSTABLE)} + ['chain_sum', 'word_ladder']\n"
        "sets = {name: reasoning_gym.create_dataset(name, seed=7, size=5) for name in names}\n"
        "sys.stdout = sys.__stdout__\n"
        "made = {name: [one[i]['question'] for i in range(5)] for name, one in sets.items()}\n"
        "print(json.dumps(made))"
    )
    made = []
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        made.append(json.loads(done.stdout.strip().split("\n")[-1]))
    assert {name for name in made[0] if made[0][name] != made[1][name]} == UNSTABLE


def test_definitions_do_not_import_torch() -> None:
    code = "import sys, evals.reasoning_gym, evals.math_500; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
