"""What became of a response: one of four outcomes, and whether it kept to its mode."""

from __future__ import annotations

from typing import Literal

from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

FinishReason = Literal["stop", "length", "time"]
Outcome = Literal["answered", "unparsed", "truncated", "looped", "not_evaluated"]
OUTCOMES: tuple[Outcome, ...] = ("answered", "unparsed", "truncated", "looped")

MIN_REPEATS = 4
MIN_LOOP_CHARS = 128
_LOOP_WINDOW = 32_768  # characters at the end in which a loop is looked for


def classify(response: str, finish_reason: FinishReason, answer: str | None) -> Outcome:
    """The outcome of a response.

    ``answered``: it stopped and an answer was found; ``unparsed``: it stopped without one;
    ``looped``: it met the token limit going round in circles; ``truncated``: it met the limit
    otherwise. A response that the clock cut off is ``not_evaluated`` and counts nowhere.
    """
    if finish_reason == "time":
        return "not_evaluated"
    if finish_reason == "length":
        return "looped" if is_looped(response) else "truncated"
    return "unparsed" if answer is None else "answered"


def is_looped(response: str) -> bool:
    """Whether the end of a text repeats itself.

    True if, for some period, the text ends in at least 4 copies of it that cover at least 128
    characters, about 32 to 64 tokens (our choice). Copies are exact and the last may be cut off,
    so counting upwards is no loop.
    """
    tail = response[-_LOOP_WINDOW:][::-1]
    # borders[i]: length of the longest proper border of tail[: i + 1]; i + 1 minus it is the
    # shortest period (Knuth, Morris, Pratt).
    borders = [0] * len(tail)
    for index in range(1, len(tail)):
        border = borders[index - 1]
        while border and tail[index] != tail[border]:
            border = borders[border - 1]
        borders[index] = border + 1 if tail[index] == tail[border] else 0
        length, period = index + 1, index + 1 - borders[index]
        if length >= MIN_LOOP_CHARS and length >= MIN_REPEATS * period:
            return True
    return False


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
