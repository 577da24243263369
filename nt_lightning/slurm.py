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
from pathlib import Path
from types import FrameType

from lightning.fabric.plugins.environments import SLURMEnvironment

from nt_lightning.files import sweep
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

    @staticmethod
    def here(root: Path) -> Job | None:
        """The job, or None where this process is no task of one, or of an interactive one."""
        is_task = SLURMEnvironment.detect() and "SLURM_JOB_ID" in os.environ
        return Job(root) if is_task else None

    @property
    def checkpoint(self) -> str | None:
        """The last checkpoint of an earlier start of this job."""
        if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" or not self._file.is_file():
            return None
        last = Path(self._file.read_text(encoding="utf-8")) / CHECKPOINTS / LAST
        if is_first_process():
            sweep(last)
        return str(last) if last.exists() else None

    def began(self, run: Path) -> None:
        """Remember the job's run."""
        if is_first_process():
            self._file.write_text(str(run), encoding="utf-8")

    def environment(self) -> SLURMEnvironment:
        """For the trainer; from here on SIGUSR1 says that time is running out."""
        signal.signal(signal.SIGUSR1, self._hear)
        return SLURMEnvironment(auto_requeue=False)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._is_to_be_requeued = True
        os.kill(os.getpid(), signal.SIGTERM)

    def requeue(self) -> None:
        """Queue the job again, if SIGUSR1 came and this is its first task."""
        if not self._is_to_be_requeued or not is_first_process():
            return
        done = subprocess.run(
            ["scontrol", "requeue", self.id], capture_output=True, text=True, check=False
        )
        if done.returncode:
            log.error("scontrol requeue %s failed: %s", self.id, done.stderr.strip())
        else:
            log.info("SLURM job %s is queued again", self.id)
