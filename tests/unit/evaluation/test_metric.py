"""One result from the samples of several ranks, whoever has how many."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.metric import EvaluationMetric
from nt_lightning.evaluation.outcomes import OUTCOMES
from nt_lightning.evaluation.results import Result, Sample, aggregate

PROBLEMS = [
    Problem(f"p{i}", "?", "1", "number", domain=("algebra", "", "logic")[i % 3])
    for i in (5, 3, 8, 1, 9, 0, 2, 7, 6, 4)
]
SHARES = {"uneven": (17, 3), "first is empty": (0, 20), "second is empty": (20, 0)}
RANKS_SCRIPT = """
import json, sys
import torch.distributed as dist
from dataclasses import asdict
from tests.unit.evaluation.test_metric import SHARES, metric, samples
root, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{root}/store", rank=rank, world_size=2)
for first, _ in [*SHARES.values(), (0, 0)]:
    one = metric()
    own = samples()[:first] if rank == 0 else samples()[first:]
    if own and first != 20:
        one.update(own[:2], 2)
        one.update(own[2:], len(own) - 2)
    else:
        one.update(own, len(own))
    print(json.dumps(asdict(one.compute())))
    assert len(one.rows) > 0
    one.reset()
quiet = metric()  # rank 1 never had anything to add
if rank == 0:
    quiet.update(samples())
print(json.dumps(asdict(quiet.compute())))
dist.destroy_process_group()
"""


def metric() -> EvaluationMetric:
    return EvaluationMetric(PROBLEMS, benchmark="sums", mode="think", stage="step-3", step=3)


def samples() -> list[Sample]:
    """Two responses to each problem, of all outcomes, in an order of no meaning."""
    made = []
    for number, problem in enumerate([*PROBLEMS, *PROBLEMS]):
        outcome = (*OUTCOMES, "answered", "answered", "not_evaluated")[number % 7]
        correct = (True, False, None)[number % 3] if outcome == "answered" else None
        made.append(
            Sample(
                benchmark="sums",
                problem_id=problem.id,
                mode="think",
                stage="step-3",
                repeat=number // 10,
                prompt="?",
                response="!",
                num_tokens=3 + number**2,
                finish_reason="stop",
                outcome=outcome,  # type: ignore[arg-type]
                answer="x" if outcome == "answered" else None,
                rule=None,
                span=None,
                correct=correct,
                obedient=(True, False, None)[number // 2 % 3],
                opened_think=number % 4 == 0,
                reference_answer="1",
                domain=problem.domain,
                answer_class="right" if correct else "x" * (outcome == "answered"),
            )
        )
    return made


def test_one_process_is_aggregate() -> None:
    one = metric()
    one.update(samples()[:4])
    one.update([])
    one.update(samples()[4:])
    expected = replace(aggregate(samples(), step=3), num_reused=0)
    assert one.compute() == expected
    assert isinstance(one.compute(), Result)
    assert expected.num_problems == 10
    assert sorted(expected.domains) == ["algebra", "logic"]
    assert expected.accuracy_bootstrap is not None


def test_a_reset_forgets() -> None:
    one = metric()
    one.update(samples(), num_reused=7)
    one.reset()
    one.update(samples()[:3], 2)
    assert one.compute() == replace(aggregate(samples()[:3], step=3), num_reused=2)


def test_two_ranks_give_the_result_of_one(tmp_path: Path) -> None:
    """A real process group; a rank without samples takes part."""
    commands = [[sys.executable, "-c", RANKS_SCRIPT, str(tmp_path), str(r)] for r in range(2)]
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outputs = [rank.communicate(timeout=100) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    expected = json.loads(json.dumps(asdict(aggregate(samples(), step=3))))
    numbers = [{**expected, "num_reused": 20}] * (len(SHARES) + 1) + [{**expected, "num_reused": 0}]
    for out, _ in outputs:
        assert [json.loads(line) for line in out.splitlines()] == numbers


def test_a_strange_problem_is_named() -> None:
    strange = replace(samples()[0], problem_id="p10")
    with pytest.raises(UserError, match="of sums is to problem 'p10', which is none of its 10"):
        metric().update([strange])


def test_overlapping_ranks_are_refused() -> None:
    one = metric()
    one.update(samples())
    one.update(samples()[5:7])
    with pytest.raises(UserError, match="2 of 22 responses of sums in think at step-3 are there"):
        one.compute()
