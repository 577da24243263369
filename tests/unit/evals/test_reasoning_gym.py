"""The held-out benchmark on the embedded pool."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from evals.reasoning_gym import ReasoningGymHeldOut
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract


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


def test_definitions_do_not_import_torch() -> None:
    code = "import sys, evals.reasoning_gym, evals.math_500; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
