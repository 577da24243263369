"""Run folders: a new one for each run, the old one for a resumed run."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from datetime import datetime
from pathlib import Path

from nt_lightning.errors import UserError
from nt_lightning.files import sweep

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
_ENV = "NT_RUN_FOLDER"


def choose_run_folder(root: Path, name: str, command: str, ckpt_path: str | None) -> Path:
    """The folder of a run: ``<root>/<name>-<time>``, or the checkpoint's own on resume.

    The first process makes it, so that no two runs share one. Processes that a strategy launches
    get their parent's folder through the environment; those of torchrun or SLURM write nothing
    before the first one has told them where.

    Args:
        root: Where runs lie.
        name: The recipe's name.
        command: ``fit`` and so on; named in the folder unless it is ``fit``.
        ckpt_path: Checkpoint that a run is resumed from.
    """
    if ckpt_path is not None:
        checkpoint = Path(ckpt_path)
        run = checkpoint.resolve().parent.parent
        if checkpoint.resolve().parent.name == CHECKPOINTS and (run / "config.yaml").is_file():
            if is_first_process():
                _keep_old_metrics(run)
            return run
    if not is_first_process():
        return Path(os.environ.get(_ENV, root / name)).absolute()
    label = name if command == "fit" else f"{name}-{command}"
    folder = _make_new(root, f"{label}-{datetime.now():%Y%m%d-%H%M%S}")
    os.environ[_ENV] = str(folder)
    return folder


def drop_if_empty(folder: Path) -> None:
    """Remove the folder of a run that failed before it wrote anything."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def latest_checkpoint(root: Path, name: str) -> Path:
    """``last.ckpt`` of the newest run of a recipe, a file or a folder.

    One that was being replaced when its run was killed comes back first.

    Raises:
        UserError: There is none.
    """
    of_this_recipe = re.compile(re.escape(name) + r"-\d{8}-\d{6}(-\d+)?")
    runs = [path for path in root.glob("*") if of_this_recipe.fullmatch(path.name)]
    places = [run / CHECKPOINTS / LAST for run in runs]
    for place in places:
        sweep(place)
    found = [place for place in places if place.exists()]
    if not found:
        others = [path for run in runs for path in (run / CHECKPOINTS).glob("*.ckpt")]
        newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
        hint = f"; callbacks.last_checkpoint.LastCheckpoint writes it; there is {newest}"
        raise UserError(
            f"--ckpt_path last: no {LAST} under {root}/{name}-*/{CHECKPOINTS}"
            f"{hint if newest else ''}"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def is_first_process() -> bool:
    """Whether this process is the first of all, however they were launched."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return all(rank == "0" for rank in ranks)


def _make_new(root: Path, stem: str) -> Path:
    for count in itertools.count(1):
        folder = (root / (stem if count == 1 else f"{stem}-{count}")).absolute()
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def _keep_old_metrics(run: Path) -> None:
    """Set the metrics so far aside: the CSV logger would begin the file anew."""
    metrics = run / "metrics.csv"
    if metrics.is_file():
        count = len(list(run.glob("metrics-*.csv"))) + 1
        metrics.rename(run / f"metrics-{count}.csv")
