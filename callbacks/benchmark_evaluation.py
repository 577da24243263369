"""Benchmarks in every think mode: before training, every n optimizer steps, and after it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.seed import isolate_rng

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, check_benchmarks
from nt_lightning.evaluation.evaluate import Evaluation
from nt_lightning.evaluation.forcing import BudgetForcing
from nt_lightning.evaluation.ranks import EvaluationStopped
from nt_lightning.evaluation.results import read_results, set_aside
from nt_lightning.evaluation.settings import EvaluationSettings
from nt_lightning.evaluation.summary import Result
from nt_lightning.report.matrix import plot_mode_matrix
from nt_lightning.traces.modes import MODE_NAMES

log = logging.getLogger(__name__)

PICTURE = "mode_matrix.png"
_NEEDED = {
    "the data module": ("formatter", "modes", "num_steps"),
    "the model": ("engine",),
}


class BenchmarkEvaluation(Callback):
    """Lets the student answer benchmarks in its think modes while it is trained.

    Logs ``eval/<benchmark>/<mode>/<metric>``, which a ``ModelCheckpoint(monitor=...)`` may name:
    accuracy, accuracy_stderr, accuracy_answered, majority, pass_at_<k>, obedience, think_share,
    mean_response_tokens and the shares answered, unparsed, truncated, looped and ungraded. The run
    folder receives ``results.json`` with all numbers, the responses under ``evaluation/`` and the
    picture ``mode_matrix.png``. Training goes on as if nothing had happened: weights, gradients,
    modes and random number generators are untouched. A resumed run keeps the results it has, and
    finished responses of an evaluation that was stopped (not of a confidential benchmark, of which
    nothing is stored). Before the first step the longest prompts are tried. Nothing is evaluated
    under ``fast_dev_run``.

    Args:
        benchmarks: What to run, each by ``class_path``, such as ``evals.math_500.Math500``; their
            names must differ. With a recipe, ``--trainer.callbacks.benchmarks.help CLASS_PATH``
            explains the arguments of one, and without a class it lists them.
        modes: Think modes to ask in: ``no_think``, ``adaptive``, ``think``.
        every_n_steps: Evaluate after every so many optimizer steps; null: only before and after.
        before: Evaluate the student before its first step (stage ``before``).
        after: Evaluate it after the last step, or where training stopped (stage ``after``).
        max_problems: Take the first so many problems of each benchmark; null takes all.
        max_new_tokens: Limit for each response; the paper has 16384. A response that meets it is
            counted as truncated or looped, not as an answer.
        max_seconds: Limit for generating one benchmark in one mode; responses that are unfinished
            then are not evaluated. Null: no limit. Cached responses take no time.
        max_total_tokens: The same in generated tokens, over all devices. Of a served student
            prompts count, too, and a request goes only where its longest reply fits.
        batch_size: Responses generated at a time on each device; halved where the memory does not
            suffice, for all further evaluations of the run.
        temperature: 0 is greedy; null is the paper's: 0.6 for Llama students, 0.7 for Qwen.
        top_p: Nucleus of the sampling, above 0, up to 1; null is the paper's: 0.95 and 1.0.
        seed: Seed of the sampling.
        repeats: Responses per problem, or a number for each benchmark by its name, such as
            {gpqa_diamond: 24, math_500: 16}; the standard error knows which belong together.
        forcing: Close an open think block at a cap, {max_thinking_tokens: 8192}, or make the
            student think on, {num_waits: 1, wait: Wait}; null leaves it to the student.
        reuse: Take finished responses of the same weights to the same prompts from the cache.

    Raises:
        UserError: In ``setup``, before the first step: an argument is out of its range, or a
            benchmark cannot be read.
    """

    def __init__(
        self,
        benchmarks: list[Benchmark],
        modes: Sequence[str] = MODE_NAMES,
        every_n_steps: int | None = None,
        before: bool = True,
        after: bool = True,
        max_problems: int | None = None,
        max_new_tokens: int = 16_384,
        max_seconds: float | None = None,
        max_total_tokens: int | None = None,
        batch_size: int = 32,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int = 0,
        repeats: int | dict[str, int] = 1,
        forcing: BudgetForcing | None = None,
        reuse: bool = True,
    ) -> None:
        self.benchmarks = benchmarks
        self.modes = list(modes)
        self.every_n_steps = every_n_steps
        self.before = before
        self.after = after
        self._settings_kwargs: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "max_problems": max_problems,
            "max_seconds": max_seconds,
            "max_total_tokens": max_total_tokens,
            "batch_size": batch_size,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "repeats": repeats,
            "forcing": forcing,
            "reuse": reuse,
        }
        self._seen_step = 0
        self._fitting: int | None = None  # the batch size that the memory had room for

    # -- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fail now rather than after hours."""
        if stage not in ("fit", "test") or _is_rehearsal(trainer):
            return
        try:
            with isolate_rng():  # question generators may draw from it
                self._check(trainer, pl_module)
        except UserError as error:
            raise UserError(f"{type(self).__name__}: {error}") from error
        if stage == "test":
            trainer.test_loop.verbose = False  # every metric in a line, beside the matrix

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate before the first step; a resumed run did so already."""
        if _is_rehearsal(trainer):
            return
        self._seen_step = step = trainer.global_step
        if step > 0:
            if (stage := self._stage_of(trainer)) and not self._is_done(trainer, stage, "after"):
                self._log_directly(trainer, self._evaluate(trainer, pl_module, stage))
            return
        first = next(c for c in trainer.callbacks if isinstance(c, BenchmarkEvaluation))  # type: ignore[attr-defined]
        if self is first and trainer.is_global_zero and (folder := set_aside(_run(trainer))):
            log.warning("results of an earlier run in the same folder are now in %s", folder)
        if self.before:
            self._log_directly(trainer, self._evaluate(trainer, pl_module, "before"))
        elif self.after or self.every_n_steps:
            with self._evaluation(trainer, pl_module, "rehearsal") as evaluation:
                evaluation.rehearse(self.benchmarks, self.modes)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluate after an optimizer step, once, whatever the number of micro-batches.

        Not where the run has been told to stop: it evaluates when it is resumed.
        """
        is_stopping = trainer.received_sigterm  # type: ignore[attr-defined]
        if is_stopping or _is_rehearsal(trainer) or trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if stage := self._stage_of(trainer):
            metrics = self._evaluate(trainer, pl_module, stage)
            # The logger gets them directly: log_every_n_steps would drop most of them.
            pl_module.log_dict(metrics, on_step=True, on_epoch=False, logger=False, batch_size=1)
            self._log_directly(trainer, metrics)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate where training stopped early, and draw the picture."""
        if _is_rehearsal(trainer):
            return
        if self.after and not self._is_done(trainer, "after"):
            self._log_directly(trainer, self._evaluate(trainer, pl_module, "after"))
        _draw(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the last evaluation of a run that has no step left; Lightning skips its loop."""
        if not _is_rehearsal(trainer) and trainer.global_step == _datamodule(trainer).num_steps:
            self.on_train_end(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate in ``trainer.test``, which returns the numbers."""
        if _is_rehearsal(trainer):
            return
        metrics = self._evaluate(trainer, pl_module, "test")
        pl_module.log_dict(metrics, batch_size=1, sync_dist=trainer.world_size > 1)
        _draw(trainer)

    # -- parts -----------------------------------------------------------------------------------

    @property
    def settings(self) -> EvaluationSettings:
        """How benchmarks are run; raises ``UserError`` on a value out of its range."""
        return EvaluationSettings(**self._settings_kwargs)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _ = self.settings
        if self.every_n_steps is not None and self.every_n_steps < 1:
            raise UserError(f"every_n_steps is {self.every_n_steps}; allowed: 1 and more, or null")
        if not self.modes:
            raise UserError(f"modes is empty; allowed: any of {', '.join(MODE_NAMES)}")
        for mode, count in Counter(self.modes).items():
            if mode not in MODE_NAMES:
                raise UserError(f"unknown mode {mode!r}; allowed: {', '.join(MODE_NAMES)}")
            if count > 1:
                raise UserError(f"mode {mode!r} is given {count} times; allowed: once")
        for owner, thing in (("the data module", _datamodule(trainer)), ("the model", pl_module)):
            for attribute in _NEEDED[owner]:
                if attribute not in dir(thing):
                    raise UserError(f"{owner} ({type(thing).__name__}) has no {attribute!r}")
        others = [c for c in trainer.callbacks if isinstance(c, BenchmarkEvaluation)]  # type: ignore[attr-defined]
        check_benchmarks([benchmark for one in others for benchmark in one.benchmarks])
        self.settings.check_names(self.benchmarks)

    def _stage_of(self, trainer: Trainer) -> str | None:
        """The stage to be evaluated at the trainer's step, if any."""
        step = trainer.global_step
        if self.after and step == _datamodule(trainer).num_steps:
            return "after"
        return f"step-{step}" if self.every_n_steps and step % self.every_n_steps == 0 else None

    def _is_done(self, trainer: Trainer, *stages: str) -> bool:
        """Whether one of the stages has every benchmark in every mode at the trainer's step."""
        content = read_results(_run(trainer))
        done = any(
            all(
                content.has(benchmark.name, mode, stage, trainer.global_step)
                for benchmark in self.benchmarks
                for mode in self.modes
            )
            for stage in stages
        )
        return bool(trainer.strategy.broadcast(done))

    def _evaluate(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> dict[str, float]:
        log.info(
            "%s: %s in %s",
            stage,
            ", ".join(benchmark.name for benchmark in self.benchmarks),
            ", ".join(self.modes),
        )
        try:
            with self._evaluation(trainer, pl_module, stage) as evaluation:
                results = evaluation(self.benchmarks, self.modes)
        except EvaluationStopped:
            trainer._signal_connector.received_sigterm = True  # on the ranks that got none, too
            raise SIGTERMException from None
        return {name: value for result in results for name, value in _metrics(result).items()}

    @contextmanager
    def _evaluation(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> Iterator[Evaluation]:
        """An evaluation of the student as it is, after which everything is as it was."""
        datamodule, settings = _datamodule(trainer), self.settings
        open_engine: Any = pl_module.engine
        batch_size = self._fitting or settings.batch_size
        with isolate_rng(), open_engine(datamodule.formatter, batch_size) as engine:
            yield Evaluation(
                engine,
                datamodule.formatter,
                datamodule.modes,
                settings,
                run=Path(trainer.strategy.broadcast(str(_run(trainer)))),
                stage=stage,
                step=trainer.global_step,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                device=pl_module.device,
                poll=lambda: _stop_on_sigterm(trainer),
            )
            self._fitting = engine.batch_size

    @staticmethod
    def _log_directly(trainer: Trainer, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)


def _metrics(result: Result) -> dict[str, float]:
    values = {
        "accuracy": result.accuracy,
        "accuracy_stderr": result.accuracy_stderr,
        "accuracy_answered": result.accuracy_answered,
        "majority": result.majority,
        "obedience": result.obedience,
        "think_share": result.think_share,
        "mean_response_tokens": result.mean_response_tokens,
    }
    if result.num_problems:
        values.update(result.outcomes)
        values["ungraded"] = result.ungraded
        values.update({f"pass_at_{k}": share for k, share in result.pass_at.items() if k > 1})
    prefix = f"eval/{result.benchmark}/{result.mode}"
    return {f"{prefix}/{name}": value for name, value in values.items() if value is not None}


def _draw(trainer: Trainer) -> None:
    if trainer.is_global_zero:
        content = read_results(_run(trainer))
        if content.results:
            plot_mode_matrix(content.results, _run(trainer) / PICTURE, content.baselines)


def _is_rehearsal(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def _run(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)


def _datamodule(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]


def _stop_on_sigterm(trainer: Trainer) -> None:
    """Lightning itself looks after the batch, which would be the end of the evaluation."""
    if trainer.received_sigterm:
        raise SIGTERMException
