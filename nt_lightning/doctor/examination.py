"""All checks of ``doctor``, one line each, and their file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.text import Text
from transformers.utils.logging import disable_progress_bar

from nt_lightning import __version__
from nt_lightning.doctor.export import export_keeps_logits
from nt_lightning.doctor.finding import Finding, NotChecked
from nt_lightning.doctor.gradients import accumulation_changes_nothing, world_size_changes_nothing
from nt_lightning.doctor.loss import fused_equals_plain
from nt_lightning.doctor.packing import attention_equals_eager, packed_equals_single
from nt_lightning.doctor.plan import masks_are_right, plan_counts_labels, resume_keeps_order
from nt_lightning.doctor.subject import Subject, examine
from nt_lightning.files import write_json

log = logging.getLogger(__name__)
DOCTOR_FILE = "doctor.json"
CHECKS: dict[str, Callable[[Subject], Finding]] = {
    "masks": masks_are_right,
    "plan counts": plan_counts_labels,
    "resume order": resume_keeps_order,
    "attention": attention_equals_eager,
    "packed = single": packed_equals_single,
    "fused loss": fused_equals_plain,
    "accumulation": accumulation_changes_nothing,
    "world size": world_size_changes_nothing,
    "export": export_keeps_logits,
}
_STYLES = {"pass": "green", "FAIL": "bold red", "not checked": "yellow"}


class Checked(NamedTuple):
    """One line: a check's verdict (a key of ``_STYLES``), its finding if there is one, seconds."""

    name: str
    verdict: str
    finding: Finding | None
    detail: str
    seconds: float


def run_doctor(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> bool:
    """Run every check, print a line for each, and write ``doctor.json`` into the run's folder.

    All of it happens in one process on one device, whatever the recipe's strategy: ranks are
    played one after the other.

    Args:
        trainer: With the run's precision and device.
        module: The student, loaded here.
        data: The traces, made where the cache does not hold them.

    Returns:
        Whether no check fails; one that this machine has no room for does not.

    Raises:
        UserError: The recipe trains by another module than ``MaskedSFT``.
    """
    disable_progress_bar()  # transformers' would stand between the lines
    console = Console()
    with console.status("loading the student and its traces"):
        subject = examine(trainer, module, data)
    done = []
    for name, check in CHECKS.items():
        with console.status(f"{name} ..."):
            done.append(run_check(name, check, subject))
        console.print(line(done[-1]), soft_wrap=True)
    failed = [checked.name for checked in done if checked.verdict == "FAIL"]
    path = Path(trainer.default_root_dir) / DOCTOR_FILE
    write_json(path, summary(subject, done))
    spent = sum(checked.seconds for checked in done)
    left_out = [checked.name for checked in done if checked.verdict == "not checked"]
    said = f"{len(failed)} of {len(done)} checks fail: {', '.join(failed)}" if failed else "sound"
    said += f"; not checked: {', '.join(left_out)}" if left_out else ""
    console.print(f"{said}; {spent:.0f} s; {path}", soft_wrap=True)
    return not failed


def run_check(name: str, check: Callable[[Subject], Finding], subject: Subject) -> Checked:
    """Run one check; what it raises is its failure, and hides no other check's finding."""
    began = time.perf_counter()
    finding = None
    try:
        finding = check(subject)
        verdict, detail = "pass" if finding.passed else "FAIL", finding.detail
    except (NotChecked, torch.OutOfMemoryError) as reason:
        verdict, detail = "not checked", _first_line(reason)
    except Exception as error:
        log.debug("%s", name, exc_info=True)
        verdict, detail = "FAIL", f"{type(error).__name__}: {_first_line(error)}"
    return Checked(name, verdict, finding, detail, time.perf_counter() - began)


def line(checked: Checked) -> Text:
    """Verdict, name, number and what is allowed, seconds, and what was compared."""
    finding = checked.finding
    number = f"{finding.value:.2g} (allowed {finding.allowed:.2g})" if finding else ""
    text = Text(f"{checked.verdict:<12}", _STYLES[checked.verdict])
    text.append(
        f"{checked.name:<16} {number:<24} {checked.seconds:5.1f} s  {checked.detail}", "not bold"
    )
    return text


def summary(subject: Subject, done: list[Checked]) -> dict[str, Any]:
    """What was checked on what, as plain JSON; ``verdict`` as it was printed."""
    backend = subject.module.attention_backend
    packages = ("lightning", "tokenizers", "torch", "transformers")
    return {
        "model": subject.module.model_name,
        "data": subject.data.info["digest"],
        "device": str(subject.device),
        "precision": str(subject.compute_dtype).removeprefix("torch."),
        "attention": {"name": backend.name, "why": backend.why},
        "checks": [
            {
                "name": checked.name,
                "verdict": checked.verdict,
                "value": _plain(checked.finding.value) if checked.finding else None,
                "allowed": checked.finding.allowed if checked.finding else None,
                "seconds": round(checked.seconds, 2),
                "detail": checked.detail,
            }
            for checked in done
        ],
        "versions": {"nt_lightning": __version__, **{name: version(name) for name in packages}},
    }


def _plain(value: float) -> float | str:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
