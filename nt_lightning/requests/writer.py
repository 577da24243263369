"""Events of the request store, and the thread that writes them."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from nt_lightning.requests.budget import Spent

State = Literal["sent", "replied", "refused", "gave_up", "fault"]
Done = Callable[[Exception | None], None]
EVENTS_A_COMMIT = 1000
_INSERT = (
    "INSERT INTO events (key, purpose, state, at, status, tokens, usd, sent, error, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Event(NamedTuple):
    """What became of a request, or of one attempt.

    Args:
        key: The request's.
        purpose: The command that asks.
        state: ``sent``: an attempt begins; then ``replied``; ``gave_up``: no reply after all
            attempts, a later run tries again; ``fault``: the attempt failed; ``refused``, behind
            ``gave_up``: the server does others of the run, and not this one (HTTP 4xx).
        status: HTTP status, where there is one.
        spent: What it adds to the account: an attempt counts at its worst before it is sent, and
            its end takes away what was not needed, so that a killed one stays at its worst.
        error: What went wrong, in a line.
        body: The reply as it came, but for the key.
    """

    key: bytes
    purpose: str
    state: State
    status: int | None = None
    spent: Spent = Spent()
    error: str | None = None
    body: bytes | None = None


class _Item(NamedTuple):
    event: Event
    done: Done


class Writer:
    """A thread that appends events; many that wait at once share a flush of the disk.

    Args:
        connection: Belongs to the writer from now on.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="request-store", daemon=True)
        self._thread.start()

    def append(self, event: Event, done: Done) -> None:
        """Write an event; ``done`` is called from the thread, with the error if there was one."""
        self._queue.put(_Item(event, done))

    def close(self) -> None:
        """Write what is waiting."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        for items in _batches(self._queue):
            problem = self._commit(items)
            for item in items:  # a bad one does not take the others with it
                item.done(self._commit([item]) if problem and len(items) > 1 else problem)

    def _commit(self, items: Sequence[_Item]) -> Exception | None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, [_row(item.event) for item in items])
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it is, who waits must hear of it
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            return error
        return None


def _row(event: Event) -> tuple[Any, ...]:
    body = zlib.compress(event.body, 1) if event.body is not None else None
    spent = event.spent
    return (
        *(event.key, event.purpose, event.state, time.time(), event.status),
        *(spent.tokens, spent.usd, spent.requests, event.error, body),
    )


def _batches(items: queue.SimpleQueue[_Item | None]) -> Iterator[list[_Item]]:
    """What is waiting, in one piece: one flush of the disk serves all."""
    while (item := items.get()) is not None:
        batch = [item]
        while len(batch) < EVENTS_A_COMMIT and not items.empty():
            item = items.get()
            if item is None:
                yield batch
                return
            batch.append(item)
        yield batch
