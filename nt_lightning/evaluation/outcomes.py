"""What became of a response: one of four outcomes, and whether it kept to its mode."""

from __future__ import annotations

from typing import Literal

from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN
from nt_lightning.traces.repetition import is_looped

FinishReason = Literal["stop", "length", "loop", "time"]
Outcome = Literal["answered", "unparsed", "truncated", "looped", "not_evaluated"]
OUTCOMES: tuple[Outcome, ...] = ("answered", "unparsed", "truncated", "looped")


def classify(response: str, finish_reason: FinishReason, answer: str | None) -> Outcome:
    """The outcome of a response.

    ``answered``: it stopped and an answer was found; ``unparsed``: it stopped without one;
    ``looped``: it was ended for going round in circles, or met the token limit doing so;
    ``truncated``: it met the limit otherwise. A response that the clock or the budget of tokens
    cut off is ``not_evaluated`` and counts nowhere.
    """
    if finish_reason == "loop":
        return "looped"
    if finish_reason == "time":
        return "not_evaluated"
    if finish_reason == "length":
        return "looped" if is_looped(response) else "truncated"
    return "unparsed" if answer is None else "answered"


def opened_think(response: str) -> bool:
    """Whether a think block was opened, by the mode's prefix or by the student."""
    return THINK_OPEN in response


def is_obedient(mode: str, response: str, finish_reason: FinishReason) -> bool | None:
    """Whether a response kept to its think mode; ``None`` for Adaptive and for a cut by the clock.

    No-Think: no think tag, and a stop token before the limit. Think: exactly one think block,
    closed, at the start, then an answer that is not empty, and a stop token (our choice; the
    papers report obedience through response lengths only).
    """
    if mode == "adaptive" or finish_reason == "time":
        return None
    if finish_reason != "stop":
        return False
    tags = response.count(THINK_OPEN), response.count(THINK_CLOSE)
    if mode == "no_think":
        return tags == (0, 0)
    answer = response.partition(THINK_CLOSE)[2]
    return tags == (1, 1) and response.lstrip().startswith(THINK_OPEN) and bool(answer.strip())
