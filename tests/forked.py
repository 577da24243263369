"""Processes that start at once: forked from one that has imported everything and runs no thread.

A process that has trained a tokenizer or written Parquet has threads, and a fork of it may wait for
ever for a lock that one of them held; multiprocessing's fork server is none of that kind.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

LIMIT_S = 120.0  # of a few seconds; then it says where it stands, and ends

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
    process = context.Process(target=_run, args=(log, function, *arguments))
    process.start()
    return process


def _run(log: Path, function: Callable[..., int], *arguments: Any) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    import torch

    torch.set_num_threads(1)
    sys.exit(function(*arguments))
