"""What is shown of an evaluation: a bar when waiting becomes long, and a line for each result."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import get_console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nt_lightning.evaluation.summary import Result

log = logging.getLogger(__name__)

SHOW_AFTER_S = 3.0
LOG_EVERY_S = 30.0
REFRESH_EVERY_S = 0.2


@contextmanager
def progress_bar(
    description: str, total: int, *, enabled: bool = True
) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the number of things done.

    On a terminal a bar appears after three seconds, below another one that is there, and goes away
    at the end; elsewhere a line is logged every half minute.

    Args:
        description: What is done.
        total: Things to do.
        enabled: False on all ranks but the first.
    """
    if not enabled:
        yield lambda _: None
        return
    console = get_console()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(description, total=total)
    began = last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if not console.is_terminal:
            if now - last >= LOG_EVERY_S:
                last = now
                spent = now - began
                left = f", {spent / done * (total - done):.0f} s left" if done else ""
                log.info("%s: %d of %d after %.0f s%s", description, done, total, spent, left)
        elif now - began >= SHOW_AFTER_S and now - last >= REFRESH_EVERY_S:
            last = now
            bar.start()
            # Lightning's bar, in which this one is nested, does not refresh by itself.
            bar.update(task, completed=done, refresh=True)

    try:
        yield update
    finally:
        if bar.live.is_started:  # else stop() prints an empty line
            bar.stop()


def log_result(result: Result, seconds: float) -> None:
    """Log a line for a result, and one for what is missing in it.

    Args:
        result: The result.
        seconds: How long it took.
    """
    where = f"{result.stage}: {result.benchmark} in {result.mode}"
    if result.accuracy is not None and result.mean_response_tokens is not None:
        log.info(
            "%s: accuracy %.3f on %d problems, %.0f tokens a response, %.0f s%s",
            where,
            result.accuracy,
            result.num_problems,
            result.mean_response_tokens,
            seconds,
            f", {result.num_reused} responses from the cache" if result.num_reused else "",
        )
    if missing := result.num_unfinished:
        log.warning(
            "%s: %d of %d responses were not finished within max_seconds or max_total_tokens and "
            "are not evaluated; what is left favours short responses",
            where,
            missing,
            missing + (result.num_responses or 0),
        )
