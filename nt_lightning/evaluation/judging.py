"""From a response to a stored sample: extraction, outcome, verdict. No model is needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.extraction import DEFAULT_OPTIONS, NO_ANSWER, extract
from nt_lightning.evaluation.grading import UngradedError, parse_number, plain_latex
from nt_lightning.evaluation.outcomes import FinishReason, classify, is_obedient, opened_think
from nt_lightning.evaluation.results import Sample
from nt_lightning.files import digest

log = logging.getLogger(__name__)

RIGHT = "right"  # the class of answers that are judged right
_LONGEST_NUMBER = 100  # characters; a longer one is compared as text (our choice)


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
        Of a confidential benchmark it holds no text, only option letters.
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
            why = "" if benchmark.is_confidential else f": {error}"
            log.warning("no verdict on %s of %s%s", problem.id, benchmark.name, why)
    sample = Sample(
        benchmark=benchmark.name,
        problem_id=problem.id,
        mode=asked.mode,
        stage=stage,
        repeat=asked.repeat,
        prompt=asked.prompt,
        response=response,
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
        domain=problem.domain,
        answer_class="" if found.answer is None else answer_class(problem, found.answer, correct),
    )
    return _without_texts(sample, problem) if benchmark.is_confidential else sample


def _without_texts(sample: Sample, problem: Problem) -> Sample:
    """A sample of which only option letters are left; its answer's class is a hash.

    The question is part of the hash, so that no short answer can be guessed by who does not have
    the benchmark.
    """
    bare = replace(sample, prompt="", response="")
    if problem.kind == "letter":
        return bare
    alike = sample.answer_class
    if alike not in ("", RIGHT):
        alike = digest([problem.question, alike])[:32]
    return replace(bare, answer=None, reference_answer="", answer_class=alike)


def answer_class(problem: Problem, answer: str, correct: bool | None) -> str:
    """What an answer counts as in a majority vote; the rule is ours.

    Answers that are judged right are one class. Others are alike if their normalised texts are: of
    a ``letter`` the place of the chosen option among the sorted options, because the order of the
    options may differ from repeat to repeat, or the upper-case letter where their texts are
    unknown; of a ``number`` its value; of ``boxed`` its LaTeX without blanks and variants; of
    ``exact`` the text but for case and blanks.

    Args:
        problem: The variant that was asked.
        answer: What was extracted.
        correct: Its verdict; ``None`` without one.
    """
    if correct:
        return RIGHT
    if problem.kind == "letter":
        letter = answer.upper()
        texts = problem.metadata.get("option_texts")
        if texts is None:
            return f"letter: {letter}"
        place = problem.metadata.get("options", DEFAULT_OPTIONS).index(letter)
        return f"option: {sorted(texts).index(texts[place])}"
    if problem.kind == "number" and len(answer) <= _LONGEST_NUMBER:
        value = parse_number(answer)
        if value is not None:
            return f"number: {value}"
    if problem.kind == "boxed":
        return f"boxed: {plain_latex(answer)}"
    return f"text: {' '.join(answer.casefold().split())}"
