"""The request store: an append-only SQLite file of what servers have said."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.requests.budget import Spent
from nt_lightning.requests.writer import Done, Event, State, Writer

ENDED, GIVEN_UP = "state IN ('replied', 'refused')", "state = 'gave_up'"
VERSION = 1
KEYS_A_QUERY = 500
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
_LOOKED_FOR = "CREATE TEMP TABLE looked_for (key BLOB PRIMARY KEY) WITHOUT ROWID"


class Stored(NamedTuple):
    """A request's last state in the store."""

    state: State
    status: int | None
    error: str | None
    body: bytes | None


class RequestStore:
    """Replies by request, kept for good; one process at a time uses it.

    A file in WAL mode, on a local disk. An event is durable when ``append`` calls back. Nothing is
    ever changed or removed, and a request has at most one reply.

    Args:
        path: The file; made where there is none.

    Raises:
        UserError: The file is something else, cannot be read or written, or is in use.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with contextlib.ExitStack() as opened:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                opened.callback(os.close, _locked(self.path))
                self._reader = opened.enter_context(contextlib.closing(_connected(self.path)))
                _prepare(self._reader, self.path)
                self._reader.execute(_LOOKED_FOR)
                connection = _connected(self.path)
            except (OSError, sqlite3.Error) as error:
                raise UserError(f"store: {self.path} cannot be used: {error}") from None
            self._writer = Writer(connection)
            opened.callback(self._writer.close)
            self._opened = opened.pop_all()

    def append(self, event: Event, done: Done) -> None:
        """Write an event; ``done`` is called from another thread when it is on the disk.

        Args:
            event: The event.
            done: Gets ``None``, or why it could not be written.
        """
        self._writer.append(event, done)

    def is_final(self, key: bytes) -> bool:
        """Whether a request needs no more asking."""
        return bool(self._rows(f"SELECT 1 FROM events WHERE key = ? AND {ENDED}", (key,)))

    def has_given_up(self, key: bytes) -> bool:
        """Whether a request was given up and has no end since."""
        query = f"SELECT 1 FROM events WHERE key = ? AND {GIVEN_UP} LIMIT 1"
        return bool(self._rows(query, (key,))) and not self.is_final(key)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """Last states of requests; one that has never ended is absent; ``cost`` counts them."""
        insert = "INSERT OR IGNORE INTO temp.looked_for VALUES (?)"
        self._reader.executemany(insert, [(key,) for key in keys])
        out: dict[bytes, Stored] = {}
        for start in range(0, len(keys), KEYS_A_QUERY):
            part = keys[start : start + KEYS_A_QUERY]
            for states in (GIVEN_UP, ENDED):  # the later one wins
                query = (
                    "SELECT key, state, status, error, body FROM events "
                    f"WHERE key IN ({','.join('?' * len(part))}) AND {states} ORDER BY id"
                )
                for key, state, status, error, body in self._rows(query, part):
                    raw = zlib.decompress(body) if body is not None else None
                    out[key] = Stored(state, status, error, raw)
        return out

    def spent(self, purpose: str) -> Spent:
        """What all runs of a command have spent from this store, killed requests at their worst."""
        query = "SELECT SUM(sent), SUM(tokens), SUM(usd) FROM events WHERE purpose = ?"
        requests, tokens, usd = self._rows(query, (purpose,))[0]
        return Spent(requests or 0, tokens or 0, usd or 0.0)

    def unsure(self, purpose: str) -> Spent:
        """The part of ``spent`` of requests without a count: lost, or killed under way."""
        query = (
            "SELECT SUM(lost), SUM(lost * tokens), SUM(lost * usd) FROM (SELECT "
            "SUM(state = 'sent') - SUM(state IN ('replied', 'gave_up', 'fault') AND tokens != 0) "
            "AS lost, MAX(tokens) AS tokens, MAX(usd) AS usd "
            "FROM events WHERE purpose = ? GROUP BY key) WHERE lost > 0"
        )
        requests, tokens, usd = self._rows(query, (purpose,))[0]
        return Spent(requests or 0, tokens or 0, usd or 0.0)

    def cost(self) -> Spent:
        """What the requests that ``find`` has looked for have cost, in all runs."""
        query = (
            "SELECT SUM(sent), SUM(tokens), SUM(usd) FROM events "
            "WHERE key IN (SELECT key FROM temp.looked_for)"
        )
        requests, tokens, usd = self._rows(query, ())[0]
        return Spent(requests or 0, tokens or 0, usd or 0.0)

    def close(self) -> None:
        """Write what is waiting, and let others have the file."""
        self._opened.close()

    def __enter__(self) -> RequestStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise UserError(f"store: {self.path} cannot be read: {error}") from None


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that any one thread may use; it changes nothing yet."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")  # a power cut loses nothing that was paid
    return connection


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
    """Make the tables where there are none; another program's file is left as it is."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not version and not tables:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION or ("events",) not in tables:
        raise UserError(f"store: {path} is no request store of version {VERSION}")
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise UserError(f"store: {path} cannot be in WAL mode; give a file on a local disk")


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
