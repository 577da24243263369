"""How many requests go at a time: more while all is well, fewer on 429 and when replies are slow.

Additive increase, multiplicative decrease, as TCP does it; the numbers are our choice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

START = 16.0
DECREASE = 0.7
SLOW = 0.5  # share of the time limit: replies that take longer stop the growth
TOO_SLOW = 0.8  # here the number shrinks, before replies are lost to the limit
SMOOTHING = 0.1
ONE_NEWS_S = 1.0  # trouble within this time, or that of a reply, is one piece of news


class Pace:
    """Slots for requests that are under way.

    The number of slots doubles every round until the first trouble and grows by one a round
    after it; a round is as many replies as there are slots. A 429 or a lost reply takes 30 % away,
    once in a second or in the time that a reply takes.

    Args:
        most: Never more slots than this.
        timeout_s: The time limit of a request.
        clock: Seconds that only grow.
    """

    def __init__(
        self, most: int, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.timeout_s, self._clock = most, timeout_s, clock
        self.limit = min(START, float(most))
        self.latency: float | None = None
        self.under_way = 0
        self._starting = True
        self._decreased = -float("inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and keep it."""
        if self.under_way >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # whoever wakes it has taken the slot for it
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        else:
            self.under_way += 1
        try:
            yield
        finally:
            self._leave()

    def replied(self, seconds: float) -> None:
        """A reply came after this time."""
        smoothed = seconds if self.latency is None else self.latency
        self.latency = smoothed + SMOOTHING * (seconds - smoothed)
        if self.latency > TOO_SLOW * self.timeout_s:
            self._decrease(0.9)
        elif self.latency <= SLOW * self.timeout_s:
            self.limit = min(self.most, self.limit + (1.0 if self._starting else 1 / self.limit))
            self._wake()

    def troubled(self) -> None:
        """The server said that it has too much to do, or did not answer in time."""
        self._decrease(DECREASE)

    def _decrease(self, factor: float) -> None:
        now = self._clock()
        if now - self._decreased < max(self.latency or 0.0, ONE_NEWS_S):
            return
        self._decreased, self._starting = now, False
        self.limit = max(1.0, self.limit * factor)

    def _leave(self) -> None:
        self.under_way -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.under_way < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)
