"""The request store: nothing is changed or lost, whatever happens to who writes."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from nt_lightning.errors import UserError
from nt_lightning.requests.budget import Spent
from nt_lightning.requests.store import KEYS_A_QUERY, RequestStore, Stored, chunks
from nt_lightning.requests.writer import Event

REPOSITORY = Path(__file__).parents[3]
WRITES = """
import sys
from nt_lightning.requests.store import RequestStore
from nt_lightning.requests.writer import Event
store, number = RequestStore(sys.argv[1]), 0
def done(problem, number):
    print(number, problem or "", flush=True)
while True:
    key, number = number.to_bytes(16, "big"), number + 1
    event = Event(key, "test", "replied", 200, body=key * 200)
    store.append(event, lambda problem, number=number: done(problem, number - 1))
    if number % 50 == 0:
        import time; time.sleep(0.01)
"""


def key_of(number):
    return number.to_bytes(16, "big")


def put(store, *events):
    """Append events, wait for the disk, and say what went wrong with each."""
    problems, left = [None] * len(events), threading.Semaphore(0)
    for place, event in enumerate(events):

        def done(problem, place=place):
            problems[place] = problem
            left.release()

        store.append(event, done)
    for _ in events:
        assert left.acquire(timeout=10)
    return problems


@pytest.fixture
def store(tmp_path):
    with RequestStore(tmp_path / "new" / "requests.sqlite") as opened:
        yield opened


def test_what_is_kept_is_what_came(store):
    body = "reply 😀 \0".encode() * 1000
    events = [
        Event(key_of(1), "a", "sent", spent=Spent(1, 500, 0.5)),
        Event(key_of(1), "a", "replied", 200, Spent(0, -400, -0.25), None, body),
        Event(key_of(2), "a", "refused", 400, Spent(1), "too long", b"{}"),
        Event(key_of(3), "b", "fault", 500, Spent(1), "no"),
        Event(key_of(4), "b", "gave_up", None, Spent(1, 7, 0.5), "no reply"),
    ]
    assert put(store, *events) == [None] * 5
    assert store.find([key_of(number) for number in range(6)]) == {
        key_of(1): Stored("replied", 200, None, body),
        key_of(2): Stored("refused", 400, "too long", b"{}"),
        key_of(4): Stored("gave_up", None, "no reply", None),
    }
    assert [store.is_final(key_of(number)) for number in range(1, 5)] == [True, True, False, False]
    assert store.spent("a") == Spent(2, 100, 0.25)
    assert store.spent("b") == Spent(2, 7, 0.5)
    assert store.spent("c") == Spent()


def test_a_reply_after_giving_up_is_what_counts(store):
    put(store, Event(key_of(1), "a", "gave_up"), Event(key_of(1), "a", "replied", body=b"x"))
    assert store.find([key_of(1)])[key_of(1)].state == "replied"


def test_many_keys_are_found(store):
    keys = [key_of(number) for number in range(2 * KEYS_A_QUERY + 3)]
    assert put(store, *(Event(key, "a", "replied", body=key) for key in keys)) == [None] * len(keys)
    assert {key: stored.body for key, stored in store.find(keys).items()} == {k: k for k in keys}


def test_a_request_has_at_most_one_end_and_a_bad_event_hurts_no_other(store):
    put(store, Event(key_of(1), "a", "replied", body=b"first"))
    problems = put(
        store,
        Event(key_of(2), "a", "replied", body=b"good"),
        Event(key_of(1), "a", "replied", body=b"second"),
        Event(key_of(3), "a", "replied", spent=Spent(1, 10**30), body=b"too many tokens"),
        Event(key_of(4), "a", "fault", error="half \ud83d"),
        Event(key_of(5), "a", "refused", body=b"good"),
    )
    assert [problem is None for problem in problems] == [True, False, False, False, True]
    found = store.find([key_of(number) for number in range(1, 6)])
    assert {key: stored.body for key, stored in found.items()} == {
        key_of(1): b"first",
        key_of(2): b"good",
        key_of(5): b"good",
    }


@pytest.mark.parametrize("change", ["UPDATE events SET body = NULL", "DELETE FROM events"])
def test_the_database_itself_refuses_changes(store, change):
    put(store, Event(key_of(1), "a", "replied", body=b"x"))
    with sqlite3.connect(store.path) as other, pytest.raises(sqlite3.Error, match="append-only"):
        other.execute(change)
    other.close()
    assert store.find([key_of(1)])[key_of(1)].body == b"x"


def test_it_asks_the_index(store):
    reader = sqlite3.connect(store.path)
    for state in ("state IN ('replied', 'refused')", "state = 'gave_up'"):
        query = f"EXPLAIN QUERY PLAN SELECT 1 FROM events WHERE key = ? AND {state}"
        (plan,) = reader.execute(query, (b"x",)).fetchall()
        assert plan[3].startswith("SEARCH events USING")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    reader.close()


def test_one_command_at_a_time(store, tmp_path):
    with pytest.raises(UserError, match="in use by another command"):
        RequestStore(store.path)
    script = "import sys; from nt_lightning.requests.store import RequestStore as R;"
    command = [sys.executable, "-c", f"{script} R(sys.argv[1])", str(store.path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "in use by another command" in done.stderr
    put(store, Event(key_of(1), "a", "replied", body=b"x"))
    store.close()
    store.close()  # twice does no harm
    with RequestStore(store.path) as again:
        assert again.is_final(key_of(1))


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    return path.read_bytes()


def later(path):
    RequestStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    return path.read_bytes()


def garbage(path):
    path.write_bytes(os.urandom(5000))
    return path.read_bytes()


@pytest.mark.parametrize("make", [foreign, later, garbage])
def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path, make):
    path = tmp_path / "a.sqlite"
    before = make(path)
    for _ in range(2):  # the first refusal lets go of the lock
        with pytest.raises(UserError, match="store: .*a.sqlite (is no request|cannot be used)"):
            RequestStore(path)
    assert path.read_bytes() == before


def test_where_no_file_can_be(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.sqlite", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be used"):
            RequestStore(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        RequestStore(tmp_path / "a.sqlite")


def test_a_damaged_store_is_a_clear_error(tmp_path):
    with RequestStore(tmp_path / "a.sqlite") as store:
        put(store, *(Event(key_of(n), "a", "replied", body=os.urandom(3000)) for n in range(50)))
    whole = (tmp_path / "a.sqlite").read_bytes()
    (tmp_path / "a.sqlite").write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with RequestStore(tmp_path / "a.sqlite") as store, pytest.raises(UserError, match="be read"):
        store.find([key_of(n) for n in range(50)])


def writing(path, **options):
    command = [sys.executable, "-c", WRITES, str(path)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, **options)


def test_what_was_on_the_disk_survives_a_kill(tmp_path):
    path, told = tmp_path / "a.sqlite", []
    process = writing(path)
    for line in process.stdout:
        number, _, problem = line.rstrip("\n").partition(" ")
        assert not problem
        told.append(int(number))
        if len(told) == 1000:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with RequestStore(path) as store:
        found = store.find([key_of(number) for number in told])
        assert all(found[key_of(number)].body == key_of(number) * 200 for number in told)
        assert put(store, Event(b"next", "a", "replied", body=b"x")) == [None]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    path, good, bad = tmp_path / "a.sqlite", [], []
    monkeypatch.setattr(f"{__name__}.WRITES", FULL + WRITES)
    process = writing(path)
    for line in process.stdout:
        number, _, problem = line.rstrip("\n").partition(" ")
        (bad if problem else good).append(int(number))
        if len(bad) == 100:
            process.kill()
    process.wait()
    process.stdout.close()
    with RequestStore(path) as store:
        assert len(store.find([key_of(number) for number in good])) == len(good) > 10
        missing = next(number for number in bad if not store.is_final(key_of(number)))
        assert put(store, Event(key_of(missing), "a", "replied", body=b"x")) == [None]


def test_events_that_wait_are_written_on_close(tmp_path):
    store = RequestStore(tmp_path / "a.sqlite")
    for number in range(3000):
        store.append(Event(key_of(number), "a", "replied", body=b"x"), lambda problem: None)
    store.close()
    with RequestStore(store.path) as again:
        assert again.is_final(key_of(2999))


def test_bodies_are_compressed(store):
    put(store, Event(key_of(1), "a", "replied", body=b"x" * 10**6))
    connection = sqlite3.connect(store.path)
    (body,) = connection.execute("SELECT body FROM events").fetchone()
    connection.close()
    assert len(body) < 10_000
    assert zlib.decompress(body) == b"x" * 10**6


def test_chunks_of_a_sequence():
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 2)) == []
