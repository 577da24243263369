"""A job of SLURM that goes on in its own run when it is queued again.

Lightning writes a checkpoint within the signal's handler, in the middle of a step, where ranks meet
each other in different collectives, and looks for it in a folder that a new start does not have.
Here SIGUSR1 (``#SBATCH --signal=SIGUSR1@120``) stops the run as SIGTERM does, the job is queued
again once the checkpoint is whole, and a job that SLURM has started anew goes on from the last
checkpoint of its run, whatever stopped it. The form is our choice.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from nt_lightning.files import replacing_file, sweep
from nt_lightning.runs import CHECKPOINTS, LAST, is_first_process

log = logging.getLogger(__name__)


class Job:
    """The job that this process is a task of.

    Args:
        root: Where runs lie; a hidden file there says which run is the job's.
    """

    def __init__(self, root: Path) -> None:
        self.id = os.environ["SLURM_JOB_ID"]
        self._file = root / f".slurm-{self.id}"
        self._is_to_be_requeued = False
        self._pid = os.getpid()

    @staticmethod
    def here(root: Path) -> Job | None:
        """The job, or None where this process is no task of one, or of an interactive one."""
        is_job = SLURMEnvironment.detect() and "SLURM_JOB_ID" in os.environ
        return Job(root) if is_job else None

    @property
    def checkpoint(self) -> str | None:
        """The last checkpoint of an earlier start of this job."""
        if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" or not self._file.is_file():
            return None
        last = Path(self._file.read_text(encoding="utf-8")) / CHECKPOINTS / LAST
        sweep(last)
        return str(last) if last.exists() else None

    def began(self, run: Path) -> None:
        """Remember the job's run."""
        if is_first_process():
            with replacing_file(self._file) as partial:
                partial.write_text(str(run), encoding="utf-8")

    def environment(self, plugins: Sequence[Any]) -> list[ClusterEnvironment]:
        """What the trainer needs; from here on SIGUSR1 says that time is running out.

        Args:
            plugins: The recipe's. Where one of them, or torchrun, says how processes find each
                other, that holds.
        """
        self._pid = os.getpid()
        signal.signal(signal.SIGUSR1, self._hear)
        is_told = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
        if is_told or TorchElasticEnvironment.detect():
            return []
        return [SLURMEnvironment(auto_requeue=False)]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a loader's worker
            return
        self._is_to_be_requeued = True
        os.kill(os.getpid(), signal.SIGTERM)

    def requeue(self) -> None:
        """Queue the job again, if SIGUSR1 came and this is its first task."""
        if not self._is_to_be_requeued or not is_first_process():
            return
        command = ["scontrol", "requeue", self.id]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            log.error("%s failed: %s", " ".join(command), str(reason).strip())
        else:
            log.info("SLURM job %s is queued again", self.id)
