"""Processes that answer JSON lines and are killed when they hang.

math-verify's own time limits need the main thread and cannot stop a computation in C (Math-Verify
issue 65), so the limit is on the clock here and the process is expendable.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nt_lightning

START_LIMIT_S = 60.0  # importing sympy from a cold disk

Message = dict[str, Any]


class Expendable:
    """A Python process that answers one request at a time.

    It is a fresh interpreter, no fork: torch's threads do not survive a fork, and a spawn would
    import the main module again. Its first line, ``{"ready": true}``, is an answer like others.

    Args:
        module: What it runs, with the limit as first argument; see ``grading_worker.serve``.
        limit_s: Seconds for one answer.
        arguments: Further arguments of the module.
    """

    def __init__(self, module: str, limit_s: float, arguments: Sequence[str] = ()) -> None:
        self.limit_s = limit_s
        self.process: subprocess.Popen[bytes] | None = None
        self.deadline = 0.0
        self._command = [sys.executable, "-m", module, str(limit_s), *arguments]
        self._unsent = self._unread = b""

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Begin anew; the first answer comes when it is ready."""
        self.kill()
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(nt_lightning.__file__).parents[1],  # -m finds the package from there
            start_new_session=True,  # Ctrl+C is for the run; closing stdin ends the process
            bufsize=0,
        )
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)  # a process that has stopped reads nothing
        self.deadline = time.monotonic() + START_LIMIT_S

    def send(self, request: Message) -> None:
        """Ask something; the time for the answer begins."""
        self._unsent = json.dumps(request).encode() + b"\n"
        self.deadline = time.monotonic() + self.limit_s

    def receive(self) -> Message | None:
        """The answer, if it is there; never waits.

        Raises:
            TimeoutError: The time is over.
            EOFError: The process has ended.
            OSError: The same, while it was being asked.
        """
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self.process.stdin.fileno(), self._unsent) :]
        with contextlib.suppress(BlockingIOError):
            while b"\n" not in self._unread:
                chunk = os.read(self.process.stdout.fileno(), 65_536)
                if not chunk:
                    raise EOFError(f"exit status {self.process.wait()}")
                self._unread += chunk
        if b"\n" in self._unread:
            line, _, self._unread = self._unread.partition(b"\n")
            return json.loads(line)  # type: ignore[no-any-return]
        if time.monotonic() >= self.deadline:
            raise TimeoutError
        return None

    def wait(self) -> Message:
        """The answer, when it is there.

        Raises:
            TimeoutError: The time is over.
            EOFError: The process has ended.
            OSError: The same, while it was being asked.
        """
        while (answer := self.receive()) is None:
            wait_for([self])
        return answer

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
        self.process, self._unsent, self._unread = None, b"", b""

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have a selector wake up when ``receive`` has something to do."""
        assert self.process is not None
        assert self.process.stdout is not None
        selector.register(self.process.stdout, selectors.EVENT_READ)
        if self._unsent:
            assert self.process.stdin is not None
            selector.register(self.process.stdin, selectors.EVENT_WRITE)


def wait_for(workers: Sequence[Expendable]) -> None:
    """Sleep until one of them has something to say or to be told, or the first time is over."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            worker.register(selector)
        first = min(worker.deadline for worker in workers)
        selector.select(max(0.0, first - time.monotonic()))
