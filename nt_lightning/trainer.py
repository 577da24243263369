"""The trainer with the commands that Lightning does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich.console import Console

from nt_lightning.data.score_report import score_report
from nt_lightning.doctor.examination import run_doctor
from nt_lightning.errors import UserError
from nt_lightning.forecast.command import forecast
from nt_lightning.forecast.device import Gpu, device_of
from nt_lightning.forecast.planned import planned_of
from nt_lightning.forecast.steps import Limits
from nt_lightning.preview import preview
from nt_lightning.student.checkpoint_io import CheckpointNotWritten
from nt_lightning.student.naturalness.data import ResponseScoring
from nt_lightning.student.naturalness.extremes import extreme_steps
from nt_lightning.student.naturalness.score import score_responses
from nt_lightning.subset import write_subset


class RecipeTrainer(Trainer):
    """A trainer that also knows ``doctor``, ``preview``, ``select``, ``score`` and ``forecast``."""

    recipe: Any = None  # the recipe's own trainer, which ``forecast`` does not make

    def save_checkpoint(
        self,
        filepath: str | Path,
        weights_only: bool | None = None,
        storage_options: Any | None = None,
    ) -> None:
        """Save, all ranks together; under ddp, too, all of them hear where the first one failed.

        Raises:
            CheckpointNotWritten: On all ranks; what was there before is intact.
        """
        content = self._checkpoint_connector.dump_checkpoint(bool(weights_only))
        problem: str | None = None
        try:
            self.strategy.save_checkpoint(content, filepath, storage_options=storage_options)
        except CheckpointNotWritten as error:
            problem = str(error)
        problem = self.strategy.broadcast(problem)
        if problem is not None:
            raise CheckpointNotWritten(problem)

    def preview(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        num_examples: int = 2,
        html: str | None = None,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Show examples of each think mode, tokens coloured by masked and trained.

        Args:
            model: The student; it is not loaded.
            datamodule: The traces.
            num_examples: Examples of each mode.
            html: File for the same as a page.
            ckpt_path: Unused; a saved config holds it.
            weights_only: Unused; a saved config holds it.
        """
        datamodule.prepare_data()
        datamodule.setup("preview")
        preview(datamodule, num_examples, Path(html) if html else None)  # type: ignore[arg-type]

    def doctor(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Prove the exactness claims on this recipe's student, data and machine.

        One line a check, ``doctor.json`` in the run's folder, exit code 1 where one fails. One
        device, whatever the strategy: the ranks of a world are played one after the other.

        Args:
            model: ``MaskedSFT``; it is loaded as the recipe says.
            datamodule: The traces; they are prepared where the cache does not hold them.
            ckpt_path: Unused; a saved config holds it.
            weights_only: Unused; a saved config holds it.
        """
        if self.is_global_zero and not run_doctor(self, model, datamodule):
            raise SystemExit(1)

    def select(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        output: str,
        compare: list[str] | str | None = None,
        overwrite: bool = False,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Run a selection without training and write its traces as a pool, with their audit.

        Args:
            model: Unused; a recipe holds it.
            datamodule: The selection.
            output: Folder of the new pool; its folder ``selection`` holds the audit.
            compare: A run or a pool of ``select`` to measure the overlap with, or a list of them
                such as ``[runs/one,pools/two]``.
            overwrite: Replace a pool that is already there.
            ckpt_path: Unused; a saved config holds it.
            weights_only: Unused; a saved config holds it.
        """
        names = [compare] if isinstance(compare, str) else compare or []
        write_subset(datamodule, Path(output), names, overwrite)  # type: ignore[arg-type]

    def score(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        overwrite: bool = False,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Score every response of a pool by the student's own log-probabilities.

        Args:
            model: ``NaturalnessScorer``: the student before training.
            datamodule: ``ResponseScoring``: the responses and their steps.
            overwrite: Score anew what is already there.
            ckpt_path: Unused; a trained student is scored with as the folder that ``export`` wrote.
            weights_only: Unused; a saved config holds it.
        """
        from nt_lightning.report.score_page import score_tables, write_score_page  # matplotlib

        if ckpt_path is not None:
            raise UserError(
                f"--ckpt_path {ckpt_path}: score takes no checkpoint; write it with export and "
                "give the folder as --model.model_name"
            )
        scores = score_responses(self, model, datamodule, overwrite=overwrite)  # type: ignore[arg-type]
        if scores is not None:
            data: ResponseScoring = datamodule  # type: ignore[assignment]
            report = score_report(data.pool, scores)
            report["steps"] = extreme_steps(data.pool, scores, data.encoder, report["score"])
            for table in score_tables(report):
                Console().print(table, "")
            page = write_score_page(report, Path(self.default_root_dir))
            print(f"scores: {scores.folder}\nreport: {page}")

    def forecast(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        gpu: Gpu = "auto",
        mfu: float = 0.4,
        peak_tflops: float | None = None,
        memory_gb: float | None = None,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Forecast steps, FLOPs, memory of each device and time of ``fit``; no weights are loaded.

        Args:
            model: The student; of it ``config.json`` and the tokenizer are read.
            datamodule: The traces.
            gpu: The device; ``auto`` is this machine's. How many: ``trainer.devices``,
                ``trainer.num_nodes``.
            mfu: Model FLOPs utilisation of a busy device that the time is stated for; 0.4 is our
                choice.
            peak_tflops: Dense bfloat16 peak of a device in 1e12 FLOP/s, in place of the known one.
            memory_gb: Memory of a device in GiB, in place of the known one.
            ckpt_path: Unused; a saved config holds it.
            weights_only: Unused; a saved config holds it.
        """
        planned = planned_of(self.recipe, gpu)
        device = device_of(
            gpu, peak_tflops, memory_gb, on_gpu=planned.on_gpu, per_node=planned.per_node
        )
        datamodule.prepare_data()
        datamodule.setup("forecast")
        forecast(
            model,
            datamodule,  # type: ignore[arg-type]
            planned,
            device,
            mfu=mfu,
            limits=Limits(self.max_epochs or 0, self.max_steps, self.limit_train_batches),  # type: ignore[attr-defined]
            folder=Path(self.default_root_dir),
        )
