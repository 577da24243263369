"""``transformers serve`` with the embedded student, as a context."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

START_LIMIT_S = 180


class Server(NamedTuple):
    """Where a model is served, and under which name."""

    base_url: str
    model: str


@contextmanager
def transformers_serve(model: str, log: Path) -> Iterator[Server]:
    """Serve a model folder on a free port of this machine until the context ends."""
    command = Path(sys.executable).with_name("transformers")
    program = str(command) if command.exists() else shutil.which("transformers")
    assert program, "transformers[serving] is not installed"
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    options += ["--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as handle:
        process = subprocess.Popen(
            [program, "serve", model, *options], stdout=handle, stderr=handle, env=environment
        )
    try:
        _wait_for(port, process, log)
        yield Server(f"http://127.0.0.1:{port}/v1", model)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"the server does not answer: {log.read_text()[-2000:]}")
