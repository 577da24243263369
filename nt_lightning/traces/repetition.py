"""Texts that end by going round in circles."""

from __future__ import annotations

MIN_REPEATS = 4
MIN_LOOP_CHARS = 128
WORDLESS_SHARE = 0.5  # of a text that copies without a letter have to be
WORDLESS_CHARS = 1_000  # or so many characters: longer than any rule or separator
_WINDOW = 32_768  # characters at the end in which a loop is looked for
_SEEN_TWICE = MIN_LOOP_CHARS // MIN_REPEATS  # a loop's last so many characters are in it before


def is_looped(text: str) -> bool:
    """Whether the end of a text repeats itself.

    True if, for some period, the text ends in at least 4 copies of it that cover at least 128
    characters, about 32 to 64 tokens. Copies are exact and the last may be cut off, so counting
    upwards is no loop.

    Copies without a letter are often meant: a Markdown rule, the separator of a wide table, an
    empty grid, the digits of 1/3. They are a loop only where they are at least half of the text
    or at least 1,000 characters. All four numbers are our choice.
    """
    if len(text) < MIN_LOOP_CHARS or text.rfind(text[-_SEEN_TWICE:], -_WINDOW, -1) < 0:
        return False
    tail = text[-_WINDOW:][::-1]
    wordless = next((i for i, letter in enumerate(tail) if letter.isalpha()), len(tail))
    enough = min(WORDLESS_CHARS, WORDLESS_SHARE * len(text))
    # borders[i]: length of the longest proper border of tail[: i + 1]; i + 1 minus it is the
    # shortest period (Knuth, Morris, Pratt).
    borders = [0] * len(tail)
    for index in range(1, len(tail)):
        border = borders[index - 1]
        while border and tail[index] != tail[border]:
            border = borders[border - 1]
        borders[index] = border + 1 if tail[index] == tail[border] else 0
        length, period = index + 1, index + 1 - borders[index]
        if length < MIN_LOOP_CHARS or length < MIN_REPEATS * period:
            continue
        if length > wordless or length >= enough:
            return True
    return False
