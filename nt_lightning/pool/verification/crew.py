"""Several worker processes that judge rows at the same time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nt_lightning.evaluation.equality.verdict import Verdict, undecided
from nt_lightning.evaluation.expendable import Expendable, Message, wait_for

log = logging.getLogger(__name__)

WORKER = "nt_lightning.pool.verification.worker"
ATTEMPTS = 2  # a worker may have been killed for no fault of its row (our choice)

Row = dict[str, Any]


class Judged(NamedTuple):
    """The verdict on a row: ``place`` counts the rows that were given."""

    place: int
    verdict: Verdict


class _Task(NamedTuple):
    place: int
    row: Row
    attempt: int = 1


@dataclass
class _Seat:
    """A worker, what it works on, and whether it has been told: it starts at its first task."""

    worker: Expendable
    task: _Task | None = None
    is_told: bool = False

    def take(self, task: _Task) -> None:
        self.task = task
        self.is_told = self.worker.is_alive
        if self.is_told:
            self.worker.send(task.row)
        else:
            self.worker.start()


class Crew:
    """Workers that are fed one row after another; used with ``with``, which ends them.

    A row that hangs occupies its worker until the limit, and no other. A worker that was killed
    from outside, or that crashed, is replaced and its row is tried once more.

    Args:
        num_workers: How many processes.
        limit_s: Seconds for one row.
        arguments: Further arguments of ``worker``.
    """

    def __init__(self, num_workers: int, limit_s: float, arguments: Sequence[str] = ()) -> None:
        self._seats = [_Seat(Expendable(WORKER, limit_s, arguments)) for _ in range(num_workers)]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            seat.worker.kill()

    @property
    def process_ids(self) -> list[int]:
        """Ids of the processes that run."""
        processes = [seat.worker.process for seat in self._seats]
        return [process.pid for process in processes if process is not None]

    def judge(self, rows: Iterable[Row]) -> Iterator[Judged]:
        """Verdicts in the order in which they are reached.

        Args:
            rows: Read as workers become free: ``id``, ``question``, ``answer`` and, where they are
                there, ``reference_answer``, ``source`` and ``reasoning_gym``.

        Raises:
            RuntimeError: A worker does not start.
        """
        tasks = (_Task(place, row) for place, row in enumerate(rows))
        while True:
            for seat in self._seats:
                if seat.task is None and (task := next(tasks, None)) is not None:
                    seat.take(task)
            busy = [seat for seat in self._seats if seat.task is not None]
            if not busy:
                return
            wait_for([seat.worker for seat in busy])
            for seat in busy:
                if (judged := _turn(seat)) is not None:
                    yield judged


def _turn(seat: _Seat) -> Judged | None:
    """What has come of a seat's task by now, if anything."""
    task, worker = seat.task, seat.worker
    assert task is not None
    try:
        reply = worker.receive()
    except TimeoutError:
        _must_have_started(seat)
        worker.kill()
        return _done(seat, task, undecided("timeout"))
    except (EOFError, OSError) as error:
        _must_have_started(seat)
        log.debug("row %d, attempt %d: the worker ended: %s", task.place, task.attempt, error)
        worker.kill()
        if task.attempt == ATTEMPTS:
            return _done(seat, task, undecided("failed"))
        seat.take(task._replace(attempt=task.attempt + 1))
        return None
    if reply is None:
        return None
    if not seat.is_told:  # it is ready
        seat.is_told = True
        worker.send(task.row)
        return None
    return _done(seat, task, _verdict(reply, task))


def _must_have_started(seat: _Seat) -> None:
    if not seat.is_told:
        raise RuntimeError(
            f"a worker does not start; `python -m {WORKER} {seat.worker.limit_s}` says why"
        )


def _done(seat: _Seat, task: _Task, verdict: Verdict) -> Judged:
    seat.task = None
    return Judged(task.place, verdict)


def _verdict(reply: Message, task: _Task) -> Verdict:
    if "error" in reply:
        log.debug("row %d: %s", task.place, reply["error"])
        return undecided("failed")
    return Verdict(reply["correct"], reply["by"])
