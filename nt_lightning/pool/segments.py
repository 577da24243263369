"""A trace as an annotator sees it: numbered segments, harmless, and no longer than its window."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nt_lightning.requests.token_bound import tokens_of

FRAME, REMARK = 4, 32  # tokens: of "[", "] " and the newline around a segment; of a remark
_GAP = " (...) "
_MOST_CHARS = 4  # that are one: three letters and the blank in front of them
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


def fit(segments: Sequence[Segment], most: int) -> list[Segment]:
    """Segments that fit a window: from the front and from the end, a remark between.

    Whole segments fill 60 % of the room from the front and the rest from the end; what is left
    out in the middle is named in one line. A segment that does not fit alone is cut in its middle.

    Args:
        segments: All segments.
        most: Room in tokens, by ``tokens_of``.
    """
    if sum(len(one.text.encode()) + _frame(one) for one in segments) <= most:
        return list(segments)  # a token is a byte at least
    if sum(map(_cost, segments)) <= most:
        return list(segments)
    room = most - REMARK
    longest = int(room * HEAD / 2)
    short = [one._replace(text=cut(one.text, longest - _frame(one))) for one in segments]
    head = _that_fit(short, room * HEAD)
    tail = _that_fit(short[len(head) :][::-1], room - sum(map(_cost, head)))
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
    """A text without its middle, where it may be more tokens than that."""
    if len(text.encode(errors="replace")) <= most or tokens_of(text) <= most:
        return text
    half = (most - tokens_of(_GAP)) / 2
    head = _longest(lambda length: text[:length], half)
    tail = _longest(lambda length: text[len(text) - length :], half)
    return f"{head}{_GAP}{tail}"


def _longest(part: Callable[[int], str], most: float) -> str:
    """The longest part of a text that is so many tokens, by its length."""
    lengths = range(int(max(most, 0) * _MOST_CHARS) + 2)
    found = bisect.bisect_right(lengths, max(most, 0), key=lambda length: tokens_of(part(length)))
    return part(found - 1)


def _frame(segment: Segment) -> int:
    return FRAME + len(str(segment.number))


def _cost(segment: Segment) -> int:
    return tokens_of(segment.text) + _frame(segment)


def _that_fit(segments: Sequence[Segment], room: float) -> list[Segment]:
    out = []
    for one in segments:
        room -= _cost(one)
        if room < 0:
            break
        out.append(one)
    return out
