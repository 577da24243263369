"""How many requests go at a time: more while all is well, fewer on 429 and when replies are slow.

Additive increase, multiplicative decrease, as TCP does it, by the share of trouble, as DCTCP does
it (RFC 8257); the numbers are our choice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

START = 16.0
DECREASE = 0.5  # share of the slots that is taken away where all was trouble
SLOW = 0.5  # share of the time limit: replies that take longer stop the growth
TOO_SLOW, SHRINK = 0.8, 0.1  # here the number shrinks, before replies are lost to the limit
SMOOTHING = 0.1
REVIEW_S = 1.0  # or the time of a reply, where that is longer


class Pace:
    """Slots for requests that are under way.

    The number of slots doubles every round until the first trouble and grows by one a round
    after it; a round is as many replies as there are slots. Once in a second, or in the time that
    a reply takes, half the share of 429 and time-outs among all ends is taken away.

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
        self._reviewed, self._good, self._bad = clock(), 0, 0
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
        self._good += 1
        if self.latency <= SLOW * self.timeout_s:
            self.limit = min(self.most, self.limit + (1.0 if self._starting else 1 / self.limit))
        self._review()
        self._wake()

    def troubled(self) -> None:
        """The server said that it has too much to do, or did not answer in time."""
        self._bad += 1
        self._starting = False
        self._review()

    def _review(self) -> None:
        """Take slots away for the trouble since the last time."""
        now = self._clock()
        if now - self._reviewed < max(self.latency or 0.0, REVIEW_S):
            return
        less = DECREASE * self._bad / (self._good + self._bad)
        if (self.latency or 0.0) > TOO_SLOW * self.timeout_s:
            less, self._starting = max(less, SHRINK), False
        self.limit = max(1.0, self.limit * (1.0 - less))
        self._reviewed, self._good, self._bad = now, 0, 0

    def _leave(self) -> None:
        self.under_way -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.under_way < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)
