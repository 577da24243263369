"""5,000 requests to a server that fails in every way, and five kills: all counted from its log."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.requests.request import read_reply
from nt_lightning.requests.store import RequestStore
from tests.servers.asking import endpoint, requests
from tests.servers.fault_server import WHOLE

REPOSITORY = Path(__file__).parents[2]
NUM, CONCURRENCY, KILLS = 5000, 64, 5
FAULTS = "429=0.2,500=0.05,hang=0.05,cut_off=0.02,broken=0.02,reset=0.02"
TIMEOUT_S = 1.0
Line = dict[str, str]


@contextmanager
def fault_server(log: Path) -> Iterator[int]:
    """Its port."""
    command = [sys.executable, "-m", "tests.servers.fault_server", "--log", str(log)]
    command += ["--faults", FAULTS, "--latency_s", "0.01"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def start(port: int, store: Path) -> subprocess.Popen[str]:
    """The command; always the same one."""
    command = [sys.executable, "-m", "tests.servers.asking", "--port", str(port)]
    command += ["--store", str(store), "--num", str(NUM)]
    command += ["--concurrency", str(CONCURRENCY), "--timeout_s", str(TIMEOUT_S)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def lines_of(log: Path) -> list[Line]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def run_with_kills(port: int, store: Path, log: Path) -> tuple[list[set[str]], dict[str, Any]]:
    """Questions whose reply was on the disk at each kill, and what the last run printed."""
    on_disk = []
    for moment in sorted(random.Random(0).sample(range(300, 6000), KILLS)):
        with start(port, store) as process:
            while log.read_bytes().count(b"\n") < moment:
                assert process.poll() is None, "it ended before its kill"
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        time.sleep(0.3)  # the server has read what was sent
        on_disk.append(set(stored_states(store)))
        with log.open("a") as handle:
            handle.write('{"did": "kill", "text": ""}\n')
    with start(port, store) as process:
        told, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return on_disk, json.loads(told)


def stored_states(path: Path) -> dict[str, tuple[str, str, str]]:
    """State, text and finish reason in the store, by question."""
    names = {one.key: f"question {n}" for n, one in enumerate(requests(endpoint(1), NUM))}
    with RequestStore(path) as store:
        found = store.find(list(names))
    out = {}
    for key, stored in found.items():
        reply = read_reply(stored.body)[:3:2] if stored.state == "replied" else ("", "")
        out[names[key]] = (stored.state, *reply)
    return out


def repeated_after_a_reply(lines: list[Line]) -> Counter[int]:
    """Questions sent again though a whole reply had left, by the kill between; -1: none."""
    kill, answered, repeated = 0, {}, Counter[int]()
    for line in lines:
        if line["did"] == "kill":
            kill += 1
            continue
        before = answered.pop(line["text"], None)
        if before is not None:
            repeated[before if before < kill else -1] += 1
        if line["did"] in WHOLE:
            answered[line["text"]] = kill
    return repeated


@pytest.mark.timeout(300)  # 45 s on two idle cores
def test_no_reply_is_lost_and_none_paid_twice(tmp_path: Path) -> None:
    store, log = tmp_path / "requests.sqlite", tmp_path / "log.jsonl"
    log.touch()
    with fault_server(log) as port:
        on_disk, told = run_with_kills(port, store, log)
    lines, states = lines_of(log), stored_states(store)
    asked = [line for line in lines if line["did"] != "kill"]
    did = Counter(line["did"] for line in asked)
    assert all(did[fault] > 50 for fault in ("429", "500", "hang", "cut_off", "broken", "reset"))

    # Every question ends in one state, and it is what the server did last.
    last = {line["text"]: line["did"] for line in asked}
    assert len(last) == len(states) == NUM
    for text, (state, reply, finish_reason) in states.items():
        if state == "replied":
            assert reply == f"reply to {text}"
            assert finish_reason == {"ok": "stop", "cut_off": "length"}[last[text]]
        else:
            assert (state, last[text] in WHOLE) == ("gave_up", False)
    replied = sum(state == "replied" for state, *_ in states.values())
    assert replied + told["gave_up"] == NUM
    assert told["gave_up"] < 5
    assert told["found"] + told["replied"] == replied

    # What was on the disk is not asked again; what was under way is, and nothing else.
    kills = [place for place, line in enumerate(lines) if line["did"] == "kill"]
    assert len(kills) == KILLS
    for place, kept in zip(kills, on_disk, strict=True):
        assert kept.isdisjoint(line["text"] for line in lines[place + 1 :])
    repeated = repeated_after_a_reply(lines)
    assert repeated[-1] == 0
    assert all(count <= CONCURRENCY for count in repeated.values())

    # What the account says was sent is what came, but for what died on its way.
    with RequestStore(store) as opened:
        sent = opened.spent("test").requests
    assert len(asked) <= sent <= len(asked) + KILLS * CONCURRENCY
    print(f"\n{len(asked)} requests, {dict(did)}; repeated after a kill: {dict(repeated)}")
