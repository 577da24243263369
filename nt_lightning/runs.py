"""Run folders: a new one for each run, the old one for a resumed run."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from nt_lightning.errors import UserError

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
_ENV = "NT_RUN_FOLDER"


def choose_run_folder(root: Path, name: str, command: str, ckpt_path: str | None) -> Path:
    """The folder of a run: ``<root>/<name>-<time>``, or the checkpoint's own on resume.

    Processes that a strategy launches get their parent's folder through the environment.

    Args:
        root: Where runs lie.
        name: The recipe's name.
        command: ``fit`` and so on; named in the folder unless it is ``fit``.
        ckpt_path: Checkpoint that a run is resumed from.

    Raises:
        UserError: The checkpoint does not exist.
    """
    if ckpt_path is not None:
        checkpoint = Path(ckpt_path)
        if not checkpoint.exists():
            raise UserError(f"--ckpt_path {ckpt_path}: there is no such checkpoint")
        run = checkpoint.resolve().parent.parent
        if checkpoint.resolve().parent.name == CHECKPOINTS and (run / "config.yaml").is_file():
            _keep_old_metrics(run)
            return run
    if os.environ.get("LOCAL_RANK", "0") != "0" and (inherited := os.environ.get(_ENV)):
        return Path(inherited)
    label = name if command == "fit" else f"{name}-{command}"
    stem = f"{label}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = root / stem
    count = 1
    while folder.exists():
        count += 1
        folder = root / f"{stem}-{count}"
    folder = folder.absolute()
    os.environ[_ENV] = str(folder)
    return folder


def latest_checkpoint(root: Path, name: str) -> Path:
    """``last.ckpt`` of the newest run of a recipe.

    Raises:
        UserError: There is none.
    """
    found = sorted(
        root.glob(f"{name}-*/{CHECKPOINTS}/{LAST}"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        raise UserError(f"--ckpt_path last: no {LAST} under {root}/{name}-*/{CHECKPOINTS}")
    return found[-1]


def _keep_old_metrics(run: Path) -> None:
    """Set the metrics so far aside: the CSV logger would begin the file anew."""
    metrics = run / "metrics.csv"
    if metrics.is_file():
        count = len(list(run.glob("metrics-*.csv"))) + 1
        metrics.rename(run / f"metrics-{count}.csv")
