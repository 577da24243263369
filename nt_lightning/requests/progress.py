"""A bar on a terminal, a line every half minute elsewhere: rate, time left, tokens, money."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

REFRESH_S, LOG_EVERY_S = 0.5, 30.0
ENDS = ("found", "replied", "refused", "gave_up", "repeated")


class Progress:
    """Shows how far a run of requests is.

    Args:
        total: Requests in all.
    """

    def __init__(self, total: int) -> None:
        self.total, self.began = total, time.monotonic()
        self._logged = self.began
        self._bar = tqdm(total=total, unit=" requests", disable=not sys.stderr.isatty(), delay=1)

    async def follow(self, runner: Any, lanes: Sequence[Any]) -> None:
        """Show the state again and again, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            self._show(runner, lanes)
            if self._bar.disable and time.monotonic() - self._logged >= LOG_EVERY_S:
                self._logged = time.monotonic()
                log.info("%s", self.line(runner, lanes))

    def close(self, runner: Any, lanes: Sequence[Any]) -> None:
        """Show the last state."""
        self._show(runner, lanes)
        self._bar.close()

    def line(self, runner: Any, lanes: Sequence[Any]) -> str:
        """``1,200 of 5,000 requests, 31.2/s, 2 min left, 4.1M tokens, 0.52 USD, 24 at a time``."""
        done = sum(runner.counts[name] for name in ENDS)
        rate = runner.counts["replied"] / max(time.monotonic() - self.began, 1e-9)
        left = f", {_span((self.total - done) / rate)} left" if rate else ""
        said = _further(runner, lanes)
        return f"{done:,} of {self.total:,} requests, {rate:.1f}/s{left}, {said}"

    def _show(self, runner: Any, lanes: Sequence[Any]) -> None:
        self._bar.n = sum(runner.counts[name] for name in ENDS)
        self._bar.initial = runner.counts["found"]  # took no time: the rate is of the others
        self._bar.set_postfix_str(_further(runner, lanes))


def _further(runner: Any, lanes: Sequence[Any]) -> str:
    budget = runner.budget
    spent = budget.spent.plus(runner.before, -1).plus(budget.unsure, -1)
    at_a_time = sum(int(lane.pace.limit) for lane in lanes)
    usd = f"{spent.usd:.2f} USD, " if spent.usd else ""
    failed = sum(runner.counts[name] for name in ("refused", "gave_up"))
    lost = f", {failed} without a reply" if failed else ""
    busy = f", {runner.counts['throttled']:,} times 429" if runner.counts["throttled"] else ""
    more = f" (up to {budget.unsure.tokens:,} more)" if budget.unsure.tokens else ""
    return f"{spent.tokens:,} tokens{more}, {usd}{at_a_time} at a time{lost}{busy}"


def _span(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
