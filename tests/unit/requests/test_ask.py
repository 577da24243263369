"""Stops from outside, and that the key is nowhere; in processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps
from nt_lightning.requests.jobs import Job
from nt_lightning.requests.request import Request, messages_of
from nt_lightning.requests.store import RequestStore
from tests.servers.asking import endpoint, requests
from tests.servers.fault_server import response
from tests.servers.scripted import HANG, Later, no, reply, scripted

REPOSITORY = Path(__file__).parents[3]
KEY = "sk-live/0123456789+abcdef"


@contextmanager
def asking(server, folder, num, *further, **environment):
    """The driver as a process; its store is in ``folder``."""
    options = {"port": server.port, "store": folder / "requests.sqlite", "num": num}
    command = [sys.executable, "-m", "tests.servers.asking"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen(
        [*command, *map(str, further)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def kept(folder, num):
    """Questions whose reply is in the store."""
    keys = {}
    for number in range(num):
        body = endpoint(1).body(messages_of(None, f"question {number}"))
        keys[Request.of(body, 64).key] = f"question {number}"
    with RequestStore(folder / "requests.sqlite") as store:
        found = store.find(list(keys))
    return sorted(keys[key] for key, stored in found.items() if stored.state == "replied")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wish_to_stop_waits_for_what_is_under_way(tmp_path, number, status):
    with scripted(lambda seen: Later(0.4, reply())) as server:
        with asking(server, tmp_path, 500, "--timeout_s", 30) as process:
            wait_for(lambda: server.at_once == 16)
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
        assert process.returncode == status
        assert "waiting for 16 replies;" in said  # the other 16 workers wait for a slot
        assert "the same command goes on where it was" in said
        assert kept(tmp_path, 500) == sorted(server.texts)
        assert len(server.seen) <= 33


def test_the_same_command_goes_on(tmp_path):
    with scripted(lambda seen: Later(0.3, reply())) as server:
        with asking(server, tmp_path, 500) as process:
            wait_for(lambda: server.at_once == 16)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        before = len(server.seen)
        server.answer = lambda seen: reply()
        with asking(server, tmp_path, 100) as process:
            told, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert json.loads(told)["found"] == before
        assert sorted(server.texts) == sorted(f"question {number}" for number in range(100))


def test_a_second_wish_does_not_wait(tmp_path):
    with scripted(lambda seen: reply() if seen.number < 20 else HANG) as server:
        with asking(server, tmp_path, 500, "--timeout_s", 600) as process:
            wait_for(lambda: server.at_once == 32)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.poll() is None
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - begun < 3
        assert len(kept(tmp_path, 500)) == 20
        with RequestStore(tmp_path / "requests.sqlite") as store:
            spent = store.spent("test")
        assert spent.requests == len(server.seen)
        assert spent.tokens > 100 * (len(server.seen) - 20)  # those left alone may be paid


def test_a_kill_never_passes_a_cap(tmp_path):
    """What is under way when it dies counts at its worst: the server may have made it."""
    with scripted(lambda seen: Later(0.05, reply("a", tokens=(7, 60)))) as server:
        for run in range(4):
            before = len(server.seen)
            with asking(server, tmp_path, 5000, "--most_requests", 150) as process:
                wait_for(lambda: len(server.seen) > before + 25 or process.poll() is not None)  # noqa: B023
                process.kill() if run < 3 else process.wait()
        assert len(server.seen) <= 150
        with RequestStore(tmp_path / "requests.sqlite") as store:
            assert store.spent("test").requests == 150
    assert len(server.seen) > 150 - 4 * 32


def test_an_error_of_the_server_is_one_line(tmp_path):
    with scripted(lambda seen: no(404, "The model `tiny` does not exist.")) as server:
        with asking(server, tmp_path, 500) as process:
            told, said = process.communicate(timeout=20)
        assert (process.returncode, told) == (1, "")
        url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
        assert said == f"error: tiny: {url}: HTTP 404: The model `tiny` does not exist.\n"


ECHO = reply(f"Your key is {KEY}.")
ECHOES = [
    *(ECHO, response(500, f"<html>{KEY}</html>".encode())),
    *(ECHO, response(200, f'{{"key": "{KEY}", "choices":'.encode())),
    *(ECHO, response(200, b"x", f"Content-Encoding: {KEY}\r\n")),
    *(ECHO, no(400, f"bad {KEY}")),
    no(401, f"Incorrect API key provided: {KEY}"),
]


def test_the_key_is_in_no_file_and_no_line(tmp_path):
    further = ("--api_key_env", "NT_TEST_KEY", "--debug", "--concurrency", 1)
    environment = {"NT_TEST_KEY": KEY, "PYTHONASYNCIODEBUG": "1"}
    with (
        scripted(lambda seen: ECHOES[seen.number]) as server,
        asking(server, tmp_path, 100, *further, **environment) as process,
    ):
        told, said = process.communicate(timeout=20)
    assert len(server.seen) == len(ECHOES)
    assert "HTTP 401: Incorrect API key provided: ***" in said
    assert f"Authorization: Bearer {KEY}" in server.seen[0].head
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    with RequestStore(tmp_path / "requests.sqlite") as store:
        rows = store._rows("SELECT key, error, body FROM events", ())
        found = store.find([row[0] for row in rows])
    texts = [told, said, str(rows), str(found), *(row[1] or "" for row in rows)]
    texts += [path.read_bytes().decode("latin-1") for path in written]
    for text in texts:
        assert KEY not in text
        assert KEY.replace("/", "\\/") not in text


def ask_five(folder, server, seconds=None):
    there = endpoint(server.port)
    with RequestStore(folder / "requests.sqlite") as store:
        return ask([Job("tiny", there, requests(there, 5), 5)], store, "test", Caps(), seconds)


def test_the_callers_signal_handlers_come_back(tmp_path):
    """Those of a run are Lightning's."""
    handlers = {number: lambda *_: None for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with scripted(lambda seen: reply()) as server:
            assert ask_five(tmp_path, server).replied == 5
        assert {number: signal.getsignal(number) for number in handlers} == handlers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_without_any_time_nothing_is_sent(tmp_path):
    with scripted(lambda seen: reply()) as server:
        assert ask_five(tmp_path, server, seconds=0).not_asked == 5
        assert not server.seen
        assert ask_five(tmp_path, server, seconds=20).replied == 5


def test_it_works_out_of_the_main_thread(tmp_path):
    async def main(port):
        there = endpoint(port)
        with RequestStore(tmp_path / "requests.sqlite") as store:
            job = Job("tiny", there, requests(there, 5), 5)
            return await asyncio.to_thread(ask, [job], store, "test", Caps())

    with scripted(lambda seen: reply()) as server:
        assert asyncio.run(main(server.port)).replied == 5
