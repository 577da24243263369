"""Responses that go round in circles, seen while they are generated."""

from __future__ import annotations

from collections.abc import Sequence

MIN_LOOP_TOKENS = 512
MIN_ROUNDS = 6
MAX_PERIOD = 512
CHECK_EVERY = 32  # tokens of a response


def goes_round(ids: Sequence[int]) -> bool:
    """Whether the end of a response repeats itself so long that nothing else will come.

    True if, for some period of at most 512 tokens, the last tokens are at least 6 exact rounds of
    it, and at least 512 tokens; the first round may begin within the period. Anything that counts
    upwards is no loop. Unlike ``traces.repetition.is_looped``, which looks at texts that have
    ended, this ends a response, so it asks for about ten times as much; even the digits of 1/3
    are a loop after 512 of them. All three numbers are our choice.

    Args:
        ids: Generated token ids.
    """
    for period in range(1, min(MAX_PERIOD, len(ids) // MIN_ROUNDS) + 1):
        length = max(MIN_LOOP_TOKENS, MIN_ROUNDS * period)
        if length > len(ids):
            return False
        if ids[-1] != ids[-1 - period]:  # nearly always: no copy is made
            continue
        if ids[-length:-period] == ids[period - length :]:
            return True
    return False
