"""The request store: an append-only SQLite file of what servers have said."""

from __future__ import annotations

import fcntl
import os
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.pool.requests.budget import Spent

State = Literal["replied", "refused", "gave_up", "fault"]
ENDED, GIVEN_UP = "state IN ('replied', 'refused')", "state = 'gave_up'"
VERSION = 1
KEYS_A_QUERY = 500
EVENTS_A_COMMIT = 1000
_SCHEMA = f"""
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    at REAL NOT NULL,
    status INTEGER,
    tokens INTEGER NOT NULL,
    usd REAL NOT NULL,
    sent INTEGER NOT NULL,
    error TEXT,
    body BLOB
);
CREATE UNIQUE INDEX one_end ON events (key) WHERE {ENDED};
CREATE INDEX given_up ON events (key) WHERE {GIVEN_UP};
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""


class Event(NamedTuple):
    """What became of a request, or of one attempt.

    Args:
        key: The request's.
        purpose: The command that asks.
        state: ``replied``; ``refused``: the server will not do this request (HTTP 4xx);
            ``gave_up``: no reply after all attempts, a later run tries again; ``fault``: an
            attempt that failed.
        status: HTTP status, where there is one.
        spent: What it cost; an attempt whose reply was lost counts at its worst.
        error: What went wrong, in a line.
        body: The reply as it came.
    """

    key: bytes
    purpose: str
    state: State
    status: int | None = None
    spent: Spent = Spent()
    error: str | None = None
    body: bytes | None = None


class Stored(NamedTuple):
    """A request's last state in the store."""

    state: State
    status: int | None
    error: str | None
    body: bytes | None


class RequestStore:
    """Replies by request, kept for good; one process at a time writes.

    A file in WAL mode, on a local disk. An event is durable when ``append`` calls back. Nothing is
    ever changed or removed, and a request has at most one reply.

    Args:
        path: The file; made where there is none.

    Raises:
        UserError: The file is something else, cannot be written, or is in use.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            self._reader = self._connect()
            _prepare(self._reader, self.path)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"store: {self.path} cannot be used: {error}") from None
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="request-store", daemon=True)
        self._writer.start()

    def append(self, event: Event, done: Callable[[Exception | None], None]) -> None:
        """Write an event; ``done`` is called from another thread when it is on the disk.

        Args:
            event: The event.
            done: Gets ``None``, or why it could not be written.
        """
        self._queue.put(_Item(event, done))

    def is_final(self, key: bytes) -> bool:
        """Whether a request needs no more asking."""
        query = f"SELECT 1 FROM events WHERE key = ? AND {ENDED}"
        return self._reader.execute(query, (key,)).fetchone() is not None

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """Last states of requests; one that has never ended is absent."""
        out: dict[bytes, Stored] = {}
        for start in range(0, len(keys), KEYS_A_QUERY):
            part = keys[start : start + KEYS_A_QUERY]
            for states in (GIVEN_UP, ENDED):  # the later one wins
                query = (
                    "SELECT key, state, status, error, body FROM events "
                    f"WHERE key IN ({','.join('?' * len(part))}) AND {states} ORDER BY id"
                )
                for key, state, status, error, body in self._reader.execute(query, part):
                    raw = zlib.decompress(body) if body is not None else None
                    out[key] = Stored(state, status, error, raw)
        return out

    def spent(self, purpose: str) -> Spent:
        """What all runs of a command have spent from this store."""
        query = "SELECT SUM(sent), SUM(tokens), SUM(usd) FROM events WHERE purpose = ?"
        requests, tokens, usd = self._reader.execute(query, (purpose,)).fetchone()
        return Spent(requests or 0, tokens or 0, usd or 0.0)

    def close(self) -> None:
        """Write what is waiting, and let others have the file."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()
        os.close(self._lock)

    def __enter__(self) -> RequestStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a power cut loses nothing that was paid
        return connection

    def _write(self) -> None:
        connection = self._connect()
        for items in _batches(self._queue):
            problem: Exception | None = None
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, [_row(item.event) for item in items])
                connection.execute("COMMIT")
            except sqlite3.Error as error:  # a full disk, say
                problem = error
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            for item in items:
                item.done(problem)
        connection.close()


class _Item(NamedTuple):
    event: Event
    done: Callable[[Exception | None], None]


_INSERT = (
    "INSERT INTO events (key, purpose, state, at, status, tokens, usd, sent, error, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


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


def _locked(path: Path) -> int:
    """An open file that holds the lock of the store; the system frees it if we are killed."""
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"store: {path} is in use by another command; wait for it or give another store"
        ) from None
    return handle


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not version and not tables:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION or ("events",) not in tables:
        raise UserError(f"store: {path} is no request store of version {VERSION}")


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of ``size`` items, the last one shorter."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
