"""Texts that end by going round in circles."""

from __future__ import annotations

MIN_REPEATS = 4
MIN_LOOP_CHARS = 128
_WINDOW = 32_768  # characters at the end in which a loop is looked for
_SEEN_TWICE = MIN_LOOP_CHARS // MIN_REPEATS  # a loop's last so many characters are in it before


def is_looped(text: str) -> bool:
    """Whether the end of a text repeats itself.

    True if, for some period, the text ends in at least 4 copies of it that cover at least 128
    characters, about 32 to 64 tokens (our choice). Copies are exact and the last may be cut off,
    so counting upwards is no loop.
    """
    if len(text) < MIN_LOOP_CHARS or text.rfind(text[-_SEEN_TWICE:], -_WINDOW, -1) < 0:
        return False
    tail = text[-_WINDOW:][::-1]
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
