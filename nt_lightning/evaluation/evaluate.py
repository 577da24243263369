"""The engine: benchmarks x modes to responses, verdicts and results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch.distributed as dist

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.generation import Generation, generate
from nt_lightning.evaluation.judging import Asked, judge
from nt_lightning.evaluation.progress import progress_bar
from nt_lightning.evaluation.results import (
    Result,
    Sample,
    aggregate,
    read_results,
    write_results,
    write_samples,
)
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkMode, ThinkModes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationSettings:
    """How benchmarks are run.

    Args:
        max_new_tokens: Limit for each response.
        max_problems: Take the first so many problems of each benchmark; ``None`` takes all.
        max_seconds: Limit for generating one benchmark in one mode; what is unfinished then is
            not evaluated. ``None``: no limit.
        batch_size: Responses generated at a time.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling, in (0, 1].
        seed: Seed of the sampling; each response draws from (seed, problem, repeat).
        repeats: Responses per problem.

    Raises:
        UserError: A value is out of its range.
    """

    max_new_tokens: int
    max_problems: int | None = None
    max_seconds: float | None = None
    batch_size: int = 32
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    repeats: int = 1

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "max_problems", "batch_size", "repeats"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; allowed: 1 and more")
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise UserError(f"max_seconds is {self.max_seconds}; allowed: more than 0, or null")
        if self.temperature < 0:
            raise UserError(f"temperature is {self.temperature}; allowed: 0 (greedy) and more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; allowed: above 0, up to 1")
        if self.repeats > 1 and self.temperature == 0:
            raise UserError(
                f"repeats is {self.repeats} at temperature 0, which gives equal responses; "
                "allowed: repeats 1, or a temperature above 0"
            )


def evaluate(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    modes: ThinkModes,
    benchmarks: Sequence[Benchmark],
    mode_names: Sequence[str],
    settings: EvaluationSettings,
    *,
    run: Path,
    stage: str,
    step: int,
    rank: int = 0,
    world_size: int = 1,
    poll: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Run every benchmark in every mode; all ranks call it together and get the same results.

    Rank 0 writes the responses to ``<run>/evaluation/<stage>/<benchmark>-<mode>.jsonl`` and adds
    each result to ``<run>/results.json`` as soon as it is there.

    Args:
        model: Ready for generation (``generation.generate``).
        formatter: The run's formatter, the same as in training.
        modes: The run's modes, with the number of words filled in.
        benchmarks: What to run.
        mode_names: Which modes, out of ``no_think``, ``adaptive`` and ``think``.
        settings: How.
        run: Folder of the run.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        step: Optimizer steps done.
        rank: This process; problem i belongs to rank i modulo ``world_size``.
        world_size: Number of processes.
        poll: Called after every token; what it raises ends the evaluation.
    """
    results = []
    for benchmark in benchmarks:
        problems = benchmark.problems()[: settings.max_problems]
        for name in mode_names:
            began = time.monotonic()
            own_problems = problems[rank::world_size]
            asked = _questions(formatter, modes[name], benchmark, own_problems, settings.repeats)
            title = f"{benchmark.name} {name}"
            with progress_bar(title, len(asked), enabled=rank == 0) as on_progress:

                def report(done: int, show: Callable[[int], None] = on_progress) -> None:
                    show(done)
                    poll()

                responses = _respond(
                    model, formatter, modes[name], benchmark.name, asked, settings, report
                )
            own = [
                judge(
                    benchmark,
                    question,
                    response.text,
                    num_tokens=response.num_tokens,
                    finish_reason=response.finish_reason,
                    stage=stage,
                )
                for question, response in zip(asked, responses, strict=True)
            ]
            samples = _in_order(_gather(own, world_size), problems)
            results.append(aggregate(samples, step=step))
            if rank == 0:
                write_samples(run, samples)
                _record(run, benchmark, problems, settings, results[-1])
                _log_result(results[-1], samples, time.monotonic() - began)
    return results


def _questions(
    formatter: PromptFormatter,
    mode: ThinkMode,
    benchmark: Benchmark,
    problems: Sequence[Problem],
    repeats: int,
) -> list[Asked]:
    """Every problem as each run over the benchmark asks it."""
    asked = []
    for problem in problems:
        for repeat in range(repeats):
            variant = benchmark.variant(problem, repeat)
            prompt = formatter.prompt_text(variant.question, mode) + mode.prefix
            asked.append(Asked(variant, repeat, mode.name, prompt))
    return asked


def _respond(
    model: PreTrainedModel,
    formatter: PromptFormatter,
    mode: ThinkMode,
    benchmark: str,
    asked: Sequence[Asked],
    settings: EvaluationSettings,
    on_progress: Callable[[int], None],
) -> list[Generation]:
    limit = settings.max_seconds
    return generate(
        model,
        formatter,
        [formatter.prompt_ids(question.problem.question, mode) for question in asked],
        prefix=mode.prefix,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        keys=[f"{benchmark}/{question.problem.id}/{question.repeat}" for question in asked],
        deadline=None if limit is None else time.monotonic() + limit,
        on_progress=on_progress,
    )


def _gather(own: list[Sample], world_size: int) -> list[Sample]:
    """All ranks' samples, on every rank; a rank without problems takes part, too."""
    if world_size == 1:
        return own
    parts: list[list[Sample]] = [[] for _ in range(world_size)]
    dist.all_gather_object(parts, own)
    return [sample for part in parts for sample in part]


def _in_order(samples: list[Sample], problems: Sequence[Problem]) -> list[Sample]:
    place = {problem.id: index for index, problem in enumerate(problems)}
    return sorted(samples, key=lambda sample: (place[sample.problem_id], sample.repeat))


def _record(
    run: Path,
    benchmark: Benchmark,
    problems: Sequence[Problem],
    settings: EvaluationSettings,
    result: Result,
) -> None:
    content = read_results(run)
    content.add(result)
    content.versions[benchmark.name] = benchmark.version
    content.settings[result.stage] = asdict(settings)
    if baselines := benchmark.baselines(problems):
        content.baselines[benchmark.name] = baselines
    write_results(run, content)


def _log_result(result: Result, samples: Sequence[Sample], seconds: float) -> None:
    where = f"{result.stage}: {result.benchmark} in {result.mode}"
    if result.accuracy is not None:
        log.info(
            "%s: accuracy %.3f on %d problems, %.0f tokens a response, %.0f s",
            where,
            result.accuracy,
            result.num_problems,
            result.mean_response_tokens,
            seconds,
        )
    missing = sum(sample.outcome == "not_evaluated" for sample in samples)
    if missing:
        log.warning(
            "%s: %d of %d responses were not finished within max_seconds and are not evaluated; "
            "what is left favours short responses",
            where,
            missing,
            len(samples),
        )
