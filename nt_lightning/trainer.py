"""The trainer with the commands that Lightning does not have."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich.console import Console

from nt_lightning.data.score_report import score_report
from nt_lightning.errors import UserError
from nt_lightning.preview import preview
from nt_lightning.student.naturalness.data import ResponseScoring
from nt_lightning.student.naturalness.extremes import extreme_steps
from nt_lightning.student.naturalness.score import score_responses
from nt_lightning.subset import write_subset


class RecipeTrainer(Trainer):
    """A trainer that also knows ``preview``, ``select`` and ``score``."""

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
