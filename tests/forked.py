"""Processes that start at once: forked from one that has imported everything and done nothing.

A process that has trained a tokenizer or written Parquet has threads, and a fork of it may wait for
ever for a lock that one of them held. multiprocessing's fork server has no thread but its
allocator's, which knows of forks.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

LIMIT_S = 300.0  # of a few seconds; then it says where it stands, and ends

context = get_context("forkserver")
context.set_forkserver_preload(
    ["callbacks.benchmark_evaluation", "nt_lightning.cli", "nt_lightning.student.sft"]
)


def start(log: Path, function: Callable[..., int], *arguments: Any) -> ForkServerProcess:
    """Start a process that ends with what ``function`` returns.

    Args:
        log: What it prints is added there, and a traceback if it takes longer than ``LIMIT_S``.
        function: One of a module.
        *arguments: Of the function; ends of ``context.Pipe`` may be among them.
    """
    process = context.Process(target=_run, args=(log, log, function, *arguments))
    process.start()
    return process


def start_ranks(
    number: int, log: Path, function: Callable[..., int], *arguments: Any
) -> list[ForkServerProcess]:
    """Start a function in processes that know of each other, as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    known |= {"WORLD_SIZE": str(number), "NODE_RANK": "0"}
    return [
        start(log, _as_rank, {**known, "LOCAL_RANK": str(rank)}, function, *arguments)
        for rank in range(number)
    ]


def ranks(number: int, log: Path, function: Callable[..., int], *arguments: Any) -> None:
    """The same, to their end.

    Raises:
        AssertionError: One of them failed; with what all of them have printed.
    """
    started = start_ranks(number, log, function, *arguments)
    try:
        for process in started:
            process.join()
            assert process.exitcode == 0, log.read_text()[-3000:]
    finally:
        for process in started:
            process.kill()


def _as_rank(known: dict[str, str], function: Callable[..., int], *arguments: Any) -> int:
    os.environ |= known
    return function(*arguments)


def nt_lightning(
    arguments: list[str], cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """``python -W ignore -m nt_lightning``, without the seconds that its imports take."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        command = (out, err, _nt_lightning, arguments, cwd, dict(env))
        process = context.Process(target=_run, args=command)
        process.start()
        try:
            process.join()
        finally:
            process.kill()
        texts = out.read_text(), err.read_text()
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _nt_lightning(arguments: list[str], cwd: Path, env: dict[str, str]) -> int:
    from nt_lightning.__main__ import main

    os.chdir(cwd)
    os.environ.clear()
    os.environ |= env
    warnings.simplefilter("ignore")
    sys.argv = ["nt_lightning", *arguments]
    try:
        return main()
    finally:
        atexit._run_exitfuncs()  # as an interpreter of its own does


def _run(out: Path, err: Path, function: Callable[..., int], *arguments: Any) -> None:
    for number, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    import torch

    torch.set_num_threads(1)
    sys.exit(function(*arguments))
