"""What a run is going to do, written before its first step."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nt_lightning.data.audit import AUDIT, SELECTED
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.loader import data_ranks
from nt_lightning.errors import UserError
from nt_lightning.evaluation.student_engine import weights_digest
from nt_lightning.files import replacing_file, write_json
from nt_lightning.report.selection import write_report

log = logging.getLogger(__name__)


class RunSummary(Callback):
    """Writes what is known before the first step.

    ``plan.json``: traces, tokens, steps, what was lost, the weights' fingerprint.
    ``selection.json``, ``.txt`` and ``.png`` and ``selected.parquet``: which traces, and why.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the summary and log it in a line.

        Raises:
            UserError: The data module is not one of ours.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, TraceDataModule):
            raise UserError(f"RunSummary needs a TraceDataModule, not {type(data).__name__}")
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        weights = weights_digest(pl_module)  # of all ranks
        if not trainer.is_global_zero:
            return
        summary = summarise(data, data_ranks(trainer).number)
        path = Path(trainer.default_root_dir) / "plan.json"
        if not (trainer.ckpt_path and path.is_file()):  # a resumed run's weights are others
            summary["weights_sha256"] = weights
            write_json(path, summary)
        audit = write_selection(data, path.parent)
        log.info(
            "%(selection)s: %(selected)d of %(candidates)d candidates, %(dropped_sum)d traces "
            "dropped by filters; ids %(ids_sha256).12s",
            {**audit, "dropped_sum": sum(audit["dropped"].values())},
        )
        log.info(
            "plan: %(traces)d traces, %(tokens)d tokens (%(labelled_tokens)d labelled) in "
            "%(bins)d rows, %(steps_per_epoch)d steps an epoch, %(steps)d in all",
            summary,
        )
        for split, lost in data.info["lost"].items():
            if lost["answers"]:
                log.warning(
                    "%s: %d traces dropped, %d tokens and %d final answers lost to max_tokens %d",
                    split,
                    lost["traces"],
                    lost["tokens"],
                    lost["answers"],
                    data.wanted.max_tokens,
                )


def write_selection(data: TraceDataModule, folder: Path) -> dict[str, Any]:
    """Put the audit of a run's selection into its folder, with tables and a picture."""
    for name in (AUDIT, SELECTED):
        with replacing_file(folder / name) as partial:
            shutil.copyfile(data.folder / name, partial)
    audit: dict[str, Any] = json.loads((folder / AUDIT).read_text(encoding="utf-8"))
    write_report(audit, folder)
    return audit


def summarise(data: TraceDataModule, world_size: int) -> dict[str, Any]:
    """The plan of the first epoch in numbers, as plain JSON; ``world_size`` ranks read it."""
    plan = data.plan(0)
    labels = plan.labels_per_step
    return {
        "traces": len(plan.order),
        "tokens": plan.tokens,
        "labelled_tokens": int(labels.sum()),
        "bins": plan.num_bins,
        "bins_per_step": plan.bins_per_step,
        "max_tokens": plan.max_tokens,
        "fill": round(plan.fill, 5),
        "micro_batches_per_step": plan.micro_batches(world_size),
        "idle_share": round(plan.idle_share(world_size), 5),
        "steps_per_epoch": plan.num_steps,
        "steps": data.num_steps,
        "labels_per_step": {
            "min": int(labels.min()),
            "mean": round(float(labels.mean()), 1),
            "max": int(labels.max()),
        },
        "world_size": world_size,
        **data.info,
    }
