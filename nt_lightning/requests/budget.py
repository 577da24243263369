"""Caps on requests, tokens and money: what a request may need is set aside before it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nt_lightning.errors import UserError

PRICES = ("usd_per_million_input", "usd_per_million_output")


@dataclass(frozen=True)
class Caps:
    """Caps on what a command may spend from one store, over all its runs and outputs.

    A prompt's tokens are estimated by ``tokens_of``: a server whose template adds more, or a text
    that is more tokens than this, can pass a cap by the excess of what is under way until its first
    reply has told. That a store's caps are not those of an output is our choice: money is spent
    once.

    Args:
        max_requests: Requests that are sent, repetitions included.
        max_tokens: Tokens of prompts and replies.
        max_usd: US dollars, by usd_per_million_input and usd_per_million_output of each server,
            which must be given (0: it costs nothing).
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    max_usd: float | None = None

    @property
    def are_given(self) -> bool:
        """Whether there is any."""
        return any(value is not None for value in vars(self).values())

    def check(self, endpoints: Mapping[str, Any] | None = None) -> None:
        """Refuse caps that cap nothing.

        Args:
            endpoints: Servers by their option, for the message.

        Raises:
            UserError: A cap is negative, or on money where a server has no price.
        """
        for name in ("max_requests", "max_tokens", "max_usd"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UserError(f"caps.{name} is {value}; allowed: 0 and more")
        for option, endpoint in (endpoints or {}).items() if self.max_usd is not None else ():
            if missing := [name for name in PRICES if getattr(endpoint, name) is None]:
                raise UserError(
                    f"caps.max_usd {self.max_usd} caps nothing without prices: {option} has no "
                    f"{' and no '.join(missing)}; give them (US dollars; 0: it costs nothing)"
                )


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

    A request is set aside at its worst: the tokens that its prompt may have, and its longest
    reply. So no cap is passed, but where a chat template adds more than is known before the first
    replies; near a cap fewer requests go at a time, and the command stops when nothing is under
    way and the next one does not fit.

    Attributes:
        unsure: The part of ``spent`` that may not have been needed: requests whose reply was lost
            or does not say its tokens, at their worst.

    Args:
        caps: The caps.
        spent: What earlier runs have spent.
    """

    def __init__(self, caps: Caps, spent: Spent) -> None:
        self.caps, self.spent, self.held, self.unsure = caps, spent, Spent(), Spent()

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

    def room(self, worst: Spent) -> str:
        """What a further request may cost and what the caps on tokens and money leave."""
        left = self.spent.plus(self.held)
        said = []
        if (most := self.caps.max_tokens) is not None and left.tokens + worst.tokens > most:
            one = f"one request may cost up to {worst.tokens:,} tokens (prompt and max_tokens)"
            said.append(f"{one}, the cap leaves {max(most - left.tokens, 0):,}")
        if (usd := self.caps.max_usd) is not None and left.usd + worst.usd > usd:
            one = f"one request may cost up to {worst.usd:.4g} USD"
            said.append(f"{one}, the cap leaves {max(usd - left.usd, 0):.4g}")
        return "; ".join(said)

    def settle(self, worst: Spent, actual: Spent) -> None:
        """Replace what was set aside by what was spent."""
        self.spent = self.spent.plus(actual)
        if actual is worst:  # nobody has said what it really was
            self.unsure = self.unsure.plus(worst)
        self.held = self.held.plus(worst, -1)
        if not self.held.requests:
            self.held = Spent()  # what rounding has left of the money
