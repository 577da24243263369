"""When a request is tried again, and when it is given up; the numbers are our choice."""

from __future__ import annotations

import random
from dataclasses import dataclass

from nt_lightning.requests.attempt import Attempt

MAX_ATTEMPTS = 6  # that failed or were lost
PATIENCE_S = 900.0  # how long a request is put off by 429 and 503
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0


@dataclass
class Tries:
    """The attempts at one request."""

    failures: int = 0
    put_off: int = 0
    put_off_s: float = 0.0

    def count(self, found: Attempt) -> float:
        """Seconds to wait after an attempt: anywhere up to a bound that doubles (full jitter).

        Where the server asks for a time, that time and up to half of it more, so that not all who
        were told the same come back together.

        Args:
            found: How the attempt ended.
        """
        is_put_off = found.kind == "throttled"
        self.failures += found.kind in ("failed", "lost")
        self.put_off += is_put_off
        times = self.put_off if is_put_off else self.failures
        bound = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**times)
        if found.wait_s:
            bound = max(found.wait_s / 2, bound / 10)
        wait_s = found.wait_s + random.uniform(0, bound)
        self.put_off_s += wait_s * is_put_off
        return wait_s

    @property
    def are_enough(self) -> bool:
        """Whether the request is given up."""
        return self.failures >= MAX_ATTEMPTS or self.put_off_s > PATIENCE_S
