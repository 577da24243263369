"""Optimizer steps that were held back: written down with their traces, said, and the run's end."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Trainer

from nt_lightning.data.plan import Ints
from nt_lightning.errors import UserError
from nt_lightning.files import replacing_file

log = logging.getLogger(__name__)
BAD_STEPS = "bad_steps.jsonl"
KINDS = ("nan", "inf", "spike")  # the first that applies names a step


class Step(NamedTuple):
    """An optimizer step, as people and the plan know it."""

    number: int  # from 1, over all epochs
    epoch: int  # from 0
    rows: Ints  # the step's traces, of all ranks


class BadStep(NamedTuple):
    """A step that changed nothing."""

    step: Step
    kind: str  # one of KINDS
    norm: float | None  # None where it is not finite
    limit: float | None  # what the norm was compared with; None where spikes are not looked for
    ends_run: bool

    def describe(self) -> str:
        """What was wrong, without the traces."""
        if self.kind == "spike":
            what = f"has norm {self.norm:.4g}, a spike above {self.limit:.4g}"
        else:
            what = f"is not finite ({self.kind})"
        return f"the gradient of step {self.step.number} {what}"

    def note(self, path: Path, trace_ids: Sequence[str]) -> None:
        """Add the step to a file, a JSON object in a line; the file is whole at any moment.

        Args:
            path: ``bad_steps.jsonl``.
            trace_ids: Ids of ``step.rows``.
        """
        line = {
            "step": self.step.number,
            "epoch": self.step.epoch,
            "kind": self.kind,
            "norm": self.norm,
            "limit": self.limit,
            "trace_ids": list(trace_ids),
        }
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        with replacing_file(path) as partial:
            partial.write_text(
                before + json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8"
            )


class NonFiniteStep(UserError):
    """The step at which the guard ends the run: not finite, or a spike; nothing was updated.

    Args:
        bad: The step.
        trace_ids: Its traces, of all ranks.
        path: Where they are written.
    """

    def __init__(self, bad: BadStep, trace_ids: Sequence[str], path: Path) -> None:
        shown = ", ".join(trace_ids[:20]) + (" ..." if len(trace_ids) > 20 else "")
        super().__init__(
            f"{bad.describe()}; no weight was changed and the last checkpoint is kept. Traces of "
            f"the step, all in {path}: {shown}"
        )
        self.step = bad.step.number
        self.trace_ids = list(trace_ids)


def report(bad: BadStep, trainer: Trainer) -> None:
    """Add a step and its traces to the run's ``bad_steps.jsonl``; then say so, or end the run.

    Args:
        bad: The step, the same on all ranks, which all call this.
        trainer: In whose ``default_root_dir`` the file is.

    Raises:
        NonFiniteStep: The step ends the run.
    """
    trace_ids = trainer.datamodule.trace_ids(bad.step.rows.tolist())  # type: ignore[attr-defined]
    path = Path(trainer.default_root_dir) / BAD_STEPS
    if trainer.is_global_zero:
        try:
            bad.note(path, trace_ids)
        except OSError as error:  # the other ranks would go on without this one
            log.error("%s could not be written: %s; traces: %s", path, error, trace_ids)
    if bad.ends_run:
        raise NonFiniteStep(bad, trace_ids, path)
    if trainer.is_global_zero:
        log.warning("%s; it was skipped. Its traces are in %s", bad.describe(), path)
