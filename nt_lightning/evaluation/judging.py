"""From a response to a stored sample: extraction, outcome, verdict. No model is needed."""

from __future__ import annotations

import logging
from typing import NamedTuple

from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.extraction import NO_ANSWER, extract
from nt_lightning.evaluation.grading import UngradedError
from nt_lightning.evaluation.outcomes import FinishReason, classify, is_obedient, opened_think
from nt_lightning.evaluation.results import Sample

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """One question as it was put to the student: the rendered prompt ends in the mode's prefix."""

    problem: Problem
    repeat: int
    mode: str
    prompt: str


def judge(
    benchmark: Benchmark,
    asked: Asked,
    response: str,
    *,
    num_tokens: int,
    finish_reason: FinishReason,
    stage: str,
) -> Sample:
    """Extract, classify and grade one response.

    Args:
        benchmark: Grades the answer.
        asked: What was asked.
        response: With the mode's prefix in front.
        num_tokens: Generated tokens, the stop token included.
        finish_reason: Why it ended.
        stage: Stage of the run.

    Returns:
        The sample; ``correct`` is ``None`` unless the outcome is ``answered`` and a verdict came.
    """
    problem = asked.problem
    found = NO_ANSWER
    if finish_reason != "time":
        found = extract(response, problem.kind, options=problem.metadata.get("options"))
    outcome = classify(response, finish_reason, found.answer)
    correct = None
    if outcome == "answered" and found.answer is not None:
        try:
            correct = benchmark.grade(problem, found.answer)
        except UngradedError as error:
            log.warning("no verdict on %s of %s: %s", problem.id, benchmark.name, error)
    return Sample(
        benchmark=benchmark.name,
        problem_id=problem.id,
        mode=asked.mode,
        stage=stage,
        repeat=asked.repeat,
        prompt="" if benchmark.is_confidential else asked.prompt,
        response="" if benchmark.is_confidential else response,
        num_tokens=num_tokens,
        finish_reason=finish_reason,
        outcome=outcome,
        answer=found.answer,
        rule=found.rule,
        span=found.span,
        correct=correct,
        obedient=is_obedient(asked.mode, response, finish_reason),
        opened_think=opened_think(response),
        reference_answer=problem.reference_answer,
    )
