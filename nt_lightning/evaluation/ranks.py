"""Ranks that evaluate together: they wait for each other however long, and stop together.

A collective of the training's own process group gives up after minutes, but a rank may wait hours
for the last long response of another. And Lightning answers SIGTERM with a broadcast, which would
meet whatever collective another rank is in.
"""

from __future__ import annotations

import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from nt_lightning.errors import UserError

PATIENCE = timedelta(days=30)
LOOK_EVERY_S = 0.5
STOP_FILE = ".stop-evaluation"
_FAILED = 2  # in a meeting, where 1 is told to stop


class EvaluationStopped(Exception):
    """SIGTERM came to this rank or another; all ranks raise it at the same place."""


class RankFailedError(UserError):
    """Another rank has raised an error; all but that one raise this, and none waits for it."""


class Ranks:
    """The processes of an evaluation.

    Args:
        rank: This process.
        world_size: Number of processes.
        folder: One for all of them; a file in it tells a rank that another was told to stop.
    """

    def __init__(self, rank: int, world_size: int, folder: Path) -> None:
        self.rank, self.world_size = rank, world_size
        self._file = folder / STOP_FILE
        self._is_told = self._has_failed = False
        self._looked = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM is kept in mind, in place of what it did; alone, nothing changes."""
        if self.world_size == 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        if self.rank == 0:
            self._file.unlink(missing_ok=True)
        self.meet()  # none looks before the file of an earlier stop is gone
        before = signal.signal(signal.SIGTERM, self._tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def is_told(self) -> bool:
        """Whether this rank or another was told to stop; the file is looked for now and then."""
        now = time.monotonic()
        if not self._is_told and self.world_size > 1 and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._is_told = self._file.exists()
        return self._is_told

    def meet(self) -> None:
        """Wait for all ranks.

        Raises:
            EvaluationStopped: One of them was told to stop; all ranks raise it.
            RankFailedError: One of them has failed; all ranks raise it.
        """
        if self.world_size == 1:
            return
        told = torch.tensor(_FAILED if self._has_failed else int(self._is_told))
        work = dist.all_reduce(told, op=dist.ReduceOp.MAX, group=patient_group(), async_op=True)
        while not work.is_completed():  # in Python, so that signals are heard
            time.sleep(0.02)
        work.wait()
        if told == _FAILED:
            raise RankFailedError("another rank has failed; its own output says why")
        if told:
            raise EvaluationStopped

    @contextmanager
    def together(self, agree: Callable[[], object] | None = None) -> Iterator[None]:
        """A stretch of the evaluation that all ranks end alike: an error on one ends it on all.

        One that a rank raises in the middle of a forward pass that is everybody's is told too late:
        the others wait in it until their process group gives up.

        Args:
            agree: In which the others may wait within the stretch, and which raises
                ``EvaluationStopped`` on all ranks; without it they may only ``meet``.

        Raises:
            EvaluationStopped: One of them was told to stop; all ranks raise it.
            RankFailedError: Another rank has raised an error.
        """
        try:
            yield
        except RankFailedError:
            raise
        except EvaluationStopped:
            if agree is not None:
                self.meet()  # where it is heard whether a rank has failed
            raise
        except Exception:
            if self.world_size > 1:
                self._fail(agree)
            raise

    def _fail(self, agree: Callable[[], object] | None) -> None:
        self._has_failed = self._is_told = True
        with suppress(OSError):  # a full disk may be what has failed
            self._tell()
        with suppress(EvaluationStopped):
            if agree is not None:
                agree()
        with suppress(RankFailedError):
            self.meet()

    def _tell(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._is_told = True
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()


def patient_group() -> dist.ProcessGroup:
    """A process group of its own on the CPU, in which ranks wait for days.

    All ranks make it together, once for each world.
    """
    return _patient_group(dist.group.WORLD)


@functools.cache
def _patient_group(world: dist.ProcessGroup | None) -> dist.ProcessGroup:
    return dist.new_group(backend="gloo", timeout=PATIENCE)  # type: ignore[no-any-return]
