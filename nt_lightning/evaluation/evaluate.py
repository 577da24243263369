"""The engine room: benchmarks x modes to responses, verdicts and results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.cache import ResponseCache, affordable
from nt_lightning.evaluation.engine import Engine, Limits, Prompt
from nt_lightning.evaluation.forcing import respond
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.judging import Asked, judge
from nt_lightning.evaluation.metric import EvaluationMetric
from nt_lightning.evaluation.parts import merge_parts, part_path, write_part
from nt_lightning.evaluation.progress import log_result, progress_bar
from nt_lightning.evaluation.ranks import EvaluationStopped, Ranks
from nt_lightning.evaluation.results import Sample, read_results, samples_path, write_results
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.summary import Result
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkMode, ThinkModes

log = logging.getLogger(__name__)


class Evaluation:
    """One evaluation of a student; all ranks hold one and call it together.

    Rank 0 writes the responses to ``<run>/evaluation/<stage>/<benchmark>-<mode>.jsonl`` and adds
    each result to ``<run>/results.json`` as soon as it is there. The run's folder is one for all
    ranks.

    Responses from the cache are counted (``Result.num_reused``) and their tokens go off
    ``max_total_tokens``, first problems first, so that it allows no more with a cache than without.
    They take none of ``max_seconds``, in which a call with a cache therefore finishes more. Nothing
    of a confidential benchmark is kept in the cache.

    Args:
        engine: Answers.
        formatter: The run's formatter, the same as in training.
        modes: The run's modes, with the number of words filled in.
        settings: How.
        run: Folder of the run.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        step: Optimizer steps done.
        rank: This process; problem i belongs to rank i modulo ``world_size``.
        world_size: Number of processes.
        device: Where numbers are gathered.
        poll: Called after every token where there is one rank; what it raises ends the evaluation.
    """

    def __init__(
        self,
        engine: Engine,
        formatter: PromptFormatter,
        modes: ThinkModes,
        settings: EvaluationSettings,
        *,
        run: Path,
        stage: str,
        step: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine, self.formatter, self.modes, self.settings = engine, formatter, modes, settings
        self.run, self.stage, self.step = run, stage, step
        self.rank, self.world_size, self.device = rank, world_size, device
        self.ranks = Ranks(rank, world_size, run)
        self.poll = poll
        engine.is_told = self.ranks.is_told
        self.sampling = settings.sampling(engine.family)
        self.about = engine.about()
        self.cache = ResponseCache(
            self.about if settings.reuse and engine.is_known() else None,
            self.sampling,
            settings.forcing,
        )
        self.no_cache = ResponseCache(None, self.sampling, settings.forcing)

    def __call__(self, benchmarks: Sequence[Benchmark], mode_names: Sequence[str]) -> list[Result]:
        """Run every benchmark in every mode; every rank gets the same results.

        Args:
            benchmarks: What to run.
            mode_names: Which modes, out of ``no_think``, ``adaptive`` and ``think``.

        Raises:
            EvaluationStopped: SIGTERM came to one of several ranks; all raise it together.
            RankFailedError: Another rank has raised an error; none waits for it.
        """
        with self.ranks.listening():
            return [
                self._one(benchmark, self.modes[name])
                for benchmark in benchmarks
                for name in mode_names
            ]

    def _one(self, benchmark: Benchmark, mode: ThinkMode) -> Result:
        began = time.monotonic()
        with self.ranks.together(lambda: self.engine.any_rank(False)):
            problems = benchmark.problems()[: self.settings.max_problems]
            asked = self._asked(benchmark, mode)
            responses, num_reused = self._respond(benchmark, mode, asked)
        with self.ranks.together():
            samples = [
                judge(
                    benchmark,
                    question,
                    response.text,
                    num_tokens=response.num_tokens,
                    finish_reason=response.finish_reason,
                    stage=self.stage,
                )
                for question, response in zip(asked, responses, strict=True)
            ]
            labels = {"benchmark": benchmark.name, "mode": mode.name, "stage": self.stage}
            metric = EvaluationMetric(problems, **labels, step=self.step)
            metric = metric if self.device is None else metric.to(self.device)
            metric.update(samples, num_reused)
            self.ranks.meet()  # the first one may wait hours for the last
            result: Result = metric.compute()
            self._write(benchmark, problems, samples, result)
        if self.rank == 0:
            log_result(result, time.monotonic() - began)
        return result

    def rehearse(self, benchmarks: Sequence[Benchmark], mode_names: Sequence[str]) -> None:
        """Try the longest prompts with one new token, before hours have gone into a run.

        Args:
            benchmarks: What will be run.
            mode_names: In which modes.

        Raises:
            UserError: Not even one response at a time fits.
        """
        with self.ranks.together(lambda: self.engine.any_rank(False)):
            prompts = [
                self._prompt(benchmark, self.modes[name], asked)
                for benchmark in benchmarks
                for name in mode_names
                for asked in self._asked(benchmark, self.modes[name], repeats=1)
            ]
            self.engine.rehearse(prompts)
        self.ranks.meet()

    def _asked(
        self, benchmark: Benchmark, mode: ThinkMode, repeats: int | None = None
    ) -> list[Asked]:
        """This rank's problems as each run over the benchmark asks them."""
        problems = benchmark.problems()[: self.settings.max_problems]
        repeats = repeats or self.settings.repeats_of(benchmark.name)
        asked = []
        for problem in problems[self.rank :: self.world_size]:
            for repeat in range(repeats):
                variant = benchmark.variant(problem, repeat)
                prompt = self.formatter.prompt_text(variant.question, mode) + mode.prefix
                asked.append(Asked(variant, repeat, mode.name, prompt))
        return asked

    def _respond(
        self, benchmark: Benchmark, mode: ThinkMode, asked: Sequence[Asked]
    ) -> tuple[list[Generation], int]:
        """Responses to this rank's questions, and how many of them the cache had."""
        prompts = [self._prompt(benchmark, mode, question) for question in asked]
        cache = self.no_cache if benchmark.is_confidential else self.cache
        most = self.settings.max_total_tokens
        most = None if most is None else max(1, most // self.world_size)
        found, left = affordable(cache.find(prompts), most)
        if found and self.rank == 0:
            log.info(
                "%s in %s: %d of %d responses of this rank were there already",
                *(benchmark.name, mode.name, len(found), len(asked)),
            )
        wanted = [index for index in range(len(prompts)) if index not in found]
        limit = self.settings.max_seconds
        deadline = None if limit is None else time.monotonic() + limit
        may_keep = self.settings.reuse and not benchmark.is_confidential
        limits = Limits(deadline, left, self._watch, may_keep)
        title = f"{benchmark.name} {mode.name}"
        with progress_bar(title, len(wanted), enabled=self.rank == 0) as on_progress:
            made = respond(
                self.engine,
                [prompts[index] for index in wanted],
                self.sampling,
                self.settings.forcing if mode.name != "no_think" else None,
                limits,
                lambda place, response: cache.keep(prompts[wanted[place]], response),
                on_progress,
            )
        responses = found | dict(zip(wanted, made, strict=True))
        return [responses[index] for index in range(len(prompts))], len(found)

    def _prompt(self, benchmark: Benchmark, mode: ThinkMode, asked: Asked) -> Prompt:
        question = asked.problem.question
        return Prompt(
            key=f"{benchmark.name}/{asked.problem.id}/{asked.repeat}",
            ids=tuple(self.formatter.prompt_ids(question, mode)),
            text=self.formatter.prompt_text(question, mode),
            begun=mode.prefix,
        )

    def _write(
        self,
        benchmark: Benchmark,
        problems: Sequence[Problem],
        samples: Sequence[Sample],
        result: Result,
    ) -> None:
        """Put the ranks' responses together, and the result beside the others."""
        labels = (self.run, self.stage, benchmark.name, result.mode)
        write_part(part_path(*labels, self.rank), samples)
        self.ranks.meet()
        if self.rank == 0:
            parts = [part_path(*labels, rank) for rank in range(self.world_size)]
            merge_parts(samples_path(*labels), parts, [problem.id for problem in problems])
            content = read_results(self.run)
            content.add(result)
            record = self.settings.record(benchmark, self.engine.family) | {"student": self.about}
            content.settings.setdefault(self.stage, {})[benchmark.name] = record
            if baselines := benchmark.baselines(benchmark.problems()):
                content.baselines[benchmark.name] = baselines
            write_results(self.run, content)
        self.ranks.meet()

    def _watch(self) -> None:
        """Look after every token whether to stop; a sharded student's ranks do so together."""
        if self.world_size == 1:
            self.poll()
        elif not self.engine.is_collective and self.ranks.is_told():
            raise EvaluationStopped
