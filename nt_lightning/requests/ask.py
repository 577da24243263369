"""Ask servers many requests: each once, each reply kept, until all are done or a cap is reached."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence

from nt_lightning.requests.budget import Caps
from nt_lightning.requests.jobs import Asked, Job
from nt_lightning.requests.runner import Runner
from nt_lightning.requests.store import RequestStore

log = logging.getLogger(__name__)

EXIT_SIGINT, EXIT_SIGTERM = 130, 143


def ask(
    jobs: Sequence[Job],
    store: RequestStore,
    purpose: str,
    caps: Caps,
    seconds: float | None = None,
) -> Asked:
    """Send what the store has no reply to.

    Ctrl+C and SIGTERM stop the sending and wait for what is under way; a second one does not
    wait. Whatever happens, the same call goes on where it was: a request is sent again only if
    its reply had not reached the disk, which at most ``concurrency`` of each job had not.

    Args:
        jobs: Requests by server; the servers work at the same time.
        store: Gets every reply, and every failed attempt.
        purpose: The command, whose spending counts against the caps.
        caps: What may be spent.
        seconds: After so long nothing more is sent; what is under way is waited for.

    Returns:
        What became of them.

    Raises:
        UserError: No request will do: the key, the address, the model or the server is wrong, or
            the store cannot be written.
        SystemExit: After Ctrl+C (130) or SIGTERM (143).
    """
    runner = Runner(jobs, store, purpose, caps)
    wishes: list[int] = []
    try:
        asyncio.run(_run(runner, wishes, seconds))
    except asyncio.CancelledError:
        if not wishes:
            raise
    if wishes:
        log.warning("stopped; the same command goes on where it was")
        raise SystemExit(EXIT_SIGTERM if wishes[0] == signal.SIGTERM else EXIT_SIGINT)
    return runner.asked()


async def _run(runner: Runner, wishes: list[int], seconds: float | None) -> None:
    """Run, with Ctrl+C and SIGTERM as wishes to stop."""
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None

    def wish(number: int) -> None:
        wishes.append(number)
        if len(wishes) > 1:
            main.cancel()
            return
        log.warning("waiting for %d replies; once more: do not wait", runner.num_sent)
        runner.stop()

    if seconds is not None and seconds > 0:
        loop.call_later(seconds, runner.stop)
    elif seconds is not None:
        loop.call_soon(runner.stop)  # in front of the first request; a timer would be behind it
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread
            loop.add_signal_handler(number, wish, number)
            before[number] = handler or signal.SIG_DFL  # none: it was not set from Python
    try:
        await runner.run()
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)  # Lightning's, where the command is a run
