"""A progress bar that comes only when waiting becomes long."""

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
