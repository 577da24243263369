"""A trace as an annotator sees it: numbered segments, harmless, and no longer than its window."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

HEAD = 0.6  # of what fits: the beginning sets out the plan, the end checks it (our choice)
_PARAGRAPH, _LINE = re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n\s*")
# What a chat template may take for a special token: <|im_end|>, </s>, <think>, [INST].
_SPECIAL = re.compile(r"<(?=[|/｜▁A-Za-z])|\[(?=/?(?:INST|THINK)\])")


class Segment(NamedTuple):
    """A piece of a reasoning.

    Args:
        number: From 1; 0 for a remark about segments that are left out.
        text: The piece, as it is shown.
        start: Where it begins, in characters of the reasoning.
    """

    number: int
    text: str
    start: int


def segments_of(reasoning: str) -> list[Segment]:
    """Paragraphs, or lines where there is one paragraph (our choice; the papers do not say).

    Args:
        reasoning: Text of a think block.
    """
    pieces = _pieces(reasoning, _PARAGRAPH)
    if len(pieces) == 1:
        pieces = _pieces(reasoning, _LINE)
    return [Segment(place + 1, text, start) for place, (start, text) in enumerate(pieces)]


def fit(segments: Sequence[Segment], most_chars: int) -> list[Segment]:
    """Segments that fit a window: from the front and from the end, a remark between.

    Whole segments fill 60 % of the room from the front and the rest from the end; what is left
    out in the middle is named in one line. A segment that does not fit alone is cut in its middle.

    Args:
        segments: All segments.
        most_chars: Room in characters.
    """
    if sum(len(one.text) for one in segments) <= most_chars:
        return list(segments)
    longest = max(int(most_chars * HEAD / 2), 1)
    short = [one._replace(text=cut(one.text, longest)) for one in segments]
    head = _that_fit(short, most_chars * HEAD)
    tail = _that_fit(short[len(head) :][::-1], most_chars - sum(len(one.text) for one in head))
    left_out = len(short) - len(head) - len(tail)
    if not left_out:
        return short
    remark = f"(segments {len(head) + 1} to {len(head) + left_out} are left out)"
    return [*head, Segment(0, remark, -1), *tail[::-1]]


def harmless(text: str) -> str:
    """A text without what a chat template might take for its own marks.

    A blank is put behind ``<`` in front of a bar or a letter, and behind ``[`` of ``[INST]``: a
    trace that holds ``<|im_end|>`` must not end the annotator's turn.
    """
    return _SPECIAL.sub(lambda found: f"{found[0]} ", text)


def _pieces(text: str, between: re.Pattern[str]) -> list[tuple[int, str]]:
    """Pieces that are not blank, and where they begin."""
    out, at = [], 0
    for end, following in [*(m.span() for m in between.finditer(text)), (len(text), len(text))]:
        piece = text[at:end]
        if piece.strip():
            out.append((at + len(piece) - len(piece.lstrip()), piece.strip()))
        at = following
    return out


def cut(text: str, most: int) -> str:
    """A text without its middle, where it is longer than that."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} (...) {text[len(text) - half :]}"


def _that_fit(segments: Sequence[Segment], room: float) -> list[Segment]:
    out = []
    for one in segments:
        room -= len(one.text)
        if room < 0:
            break
        out.append(one)
    return out
