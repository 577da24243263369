"""Hard caps on requests, tokens and money: what a request may need is set aside before it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nt_lightning.errors import UserError


@dataclass(frozen=True)
class Caps:
    """Hard caps on what a command may spend from one store, over all its runs.

    Args:
        max_requests: Requests that are sent, repetitions included.
        max_tokens: Tokens of prompts and replies.
        max_usd: US dollars, by the prices of the endpoints.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    max_usd: float | None = None

    def check(self) -> None:
        """Raise UserError where a cap is negative."""
        for name in ("max_requests", "max_tokens", "max_usd"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UserError(f"caps.{name} is {value}; allowed: 0 and more")


class Spent(NamedTuple):
    """Requests, tokens and US dollars."""

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0

    def plus(self, other: Spent, sign: int = 1) -> Spent:
        """Sum with another, or difference for ``sign`` -1."""
        return Spent(
            self.requests + sign * other.requests,
            self.tokens + sign * other.tokens,
            self.usd + sign * other.usd,
        )


class Budget:
    """What has been spent and what is set aside for requests that are under way.

    A request is set aside at its worst: all bytes of its body as tokens, and its longest reply.
    So no cap is ever passed; near a cap fewer requests go at a time, and the command stops when
    nothing is under way and the next one does not fit.

    Args:
        caps: The caps.
        spent: What earlier runs have spent.
    """

    def __init__(self, caps: Caps, spent: Spent) -> None:
        self.caps, self.spent, self.held = caps, spent, Spent()

    def hold(self, worst: Spent) -> bool:
        """Set a request aside; false where it does not fit beside what is under way."""
        if self.passed(worst):
            return False
        self.held = self.held.plus(worst)
        return True

    def passed(self, worst: Spent) -> str:
        """The caps that a further request could pass, for a message; empty: none."""
        total = self.spent.plus(self.held).plus(worst)
        pairs = zip(vars(self.caps).items(), total, strict=True)
        given = [(name, most, value) for (name, most), value in pairs if most is not None]
        return ", ".join(f"caps.{name} {most}" for name, most, value in given if value > most)

    def settle(self, worst: Spent, actual: Spent) -> None:
        """Replace what was set aside by what was spent."""
        self.spent = self.spent.plus(actual)
        self.held = self.held.plus(worst, -1)
        if not self.held.requests:
            self.held = Spent()  # what rounding has left of the money
