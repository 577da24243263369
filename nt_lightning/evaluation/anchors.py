r"""Where a response announces its answer: ``Answer: x``, ``the answer is x``, ``\boxed{x}``.

Everything here returns spans into the response, never edited text, so that
``response[start:end]`` is always what was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

_MARKUP = r"[*_]*"
_COLON = re.compile(
    rf"\banswers?(?:\s*\([^()\n]*\))?[*_\"]*\s*(?:[:：]|=(?!=)){_MARKUP}", re.IGNORECASE
)
_IS = re.compile(
    rf"\b(?P<noun>answers?|(?:correct|right|best)\s+(?:option|choice|letter)){_MARKUP}"
    r"(?:\s+(?:to|for|of)\b[^.:\n]{0,80}?)?"
    r"\s+(?:is|are|was|equals|(?:would|must|should|will|has\s+to)\s+be)\b"
    rf"{_MARKUP}(?:\s*[:：]{_MARKUP})?",
    re.IGNORECASE,
)
_TAGS = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
# "Wait, no: B", "Sorry, I mean B": a short correction of what was announced.
_CORRECTION = re.compile(
    r"\b(?:wait|sorry|actually|correction|scratch\s+that|on\s+second\s+thought|no(?=,))\b"
    r"(?:[\s,.;!–—-]+(?:wait|no|sorry|actually|hmm)\b)*[\s,.;!–—-]*"
    r"(?::|\b(?:I\s+meant?|make\s+(?:that|it))\b)",
    re.IGNORECASE,
)
_LONGEST_CORRECTION = 3  # words (our choice)
_HASHES = re.compile(r"^####[ \t]*", re.MULTILINE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# "I do not think (that) the answer is", "if the answer is": what follows is no claim.
_NO_CLAIM_BEFORE = re.compile(
    r"(?:(?:\bnot|n['’]t|\bnever)\s+(?:(?:think|believe|say|saying|mean|claim|sure|certain|clear"
    r"|true|the\s+case|that)\s+)*(?:that\s+)?|\b(?:if|whether|suppose|assume|unless)\s+"
    r"(?:that\s+)?)(?:(?:the|my|our|this|correct|right|final|best)\s+)*$",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\s*[*_]*(?:not|never|neither|none)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?。](?=\s|$)|\n")
_BLANK_OR_DELIMITER = re.compile(r"\s*(?P<open>\\\[|\\\(|\$\$?|```|\*\*)?(?:(?<=```)\w+)?[ \t]*\n")
_CLOSERS = {"\\[": "\\]", "\\(": "\\)"}  # the others close with themselves
_REMARK_WINDOW = 120  # characters in front of an anchor that may take it back
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_BARE_TOKEN = re.compile(r"[^\s${}\\]+")
_INITIALISM = re.compile(r"(?:\b[A-Za-z]\.){2,}$")
_PAIRS = (
    ("```", "```"),
    ("**", "**"),
    ("__", "__"),
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("“", "”"),
    ("‘", "’"),
    ("*", "*"),
)


class Anchor(NamedTuple):
    """A place that announces an answer, and the span in which the answer stands."""

    rule: str
    start: int
    end: int


def visible_start(response: str) -> int | None:
    """Where the text after the last end of thinking begins; ``None`` inside an open block."""
    close = response.rfind(THINK_CLOSE)
    start = 0 if close < 0 else close + len(THINK_CLOSE)
    return None if THINK_OPEN in response[start:] else start


def find_anchors(response: str, start: int) -> list[Anchor]:
    """Announcements of an answer behind ``start``, in order; hedged and negated ones are left out.

    ``the answer is`` reaches to the end of its sentence, ``Answer:`` to the end of its line. With
    nothing behind it on its line, the lines below count, up to an empty one.
    """
    found = [Anchor("boxed", *span) for span in find_boxes(response, start)]
    for match in _TAGS.finditer(response, start):
        found.append(Anchor("answer_tag", *match.span(1)))
    for match in _COLON.finditer(response, start):
        found.append(_reach("answer_colon", response, match.end(), sentence=False))
    for match in _HASHES.finditer(response, start):
        found.append(_reach("hashes", response, match.end(), sentence=False))
    for match in _IS.finditer(response, start):
        if is_claimed(response, start, match.start()) and not _NEGATED.match(response, match.end()):
            rule = "answer_is" if match["noun"].lower().startswith("answer") else "option_is"
            found.append(_reach(rule, response, match.end(), sentence=True))
    found = [anchor for anchor in found if anchor.start < anchor.end]
    if found:
        found += _corrections(response, min(anchor.start for anchor in found))
    return sorted(found, key=lambda anchor: anchor.start)


def is_claimed(response: str, start: int, place: int) -> bool:
    """Whether what is said at ``place`` is no condition, and not denied by what leads to it."""
    window = max(start, place - _REMARK_WINDOW)
    return _NO_CLAIM_BEFORE.search(response, window, place) is None


def _corrections(response: str, start: int) -> Iterator[Anchor]:
    for match in _CORRECTION.finditer(response, start):
        stop = _SENTENCE_END.search(response, match.end())
        span = trim(response, match.end(), stop.start() if stop else len(response))
        if 1 <= len(response[slice(*span)].split()) <= _LONGEST_CORRECTION:
            yield Anchor("correction", *span)


def find_boxes(response: str, start: int) -> Iterator[tuple[int, int]]:
    r"""Spans inside complete ``\boxed{...}`` and ``\boxed x``, trimmed; empty ones are left out."""
    for match in _BOX.finditer(response, start):
        begin = match.end()
        if begin >= len(response):
            return
        if response[begin] == "{":
            end = _closing_brace(response, begin)
            span = trim(response, begin + 1, end) if end is not None else (0, 0)
        else:
            token = _BARE_TOKEN.match(response, begin)
            span = trim(response, begin, token.end()) if token else (0, 0)
        if span[0] < span[1]:
            yield span


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Shrink a span past blanks, paired quotes and markup, stray bold marks and a final period.

    The periods of an initialism (``U.S.A.``) and an ellipsis stay.
    """
    while True:
        before = start, end
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        body = text[start:end]
        if body.endswith(".") and not body.endswith("..") and not _INITIALISM.search(body):
            end -= 1
        elif pair := _enclosing(body):
            start, end = start + len(pair[0]), end - len(pair[1])
        elif body.startswith("**") and body.count("**") == 1:
            start += 2
        elif body.endswith("**") and body.count("**") == 1:
            end -= 2
        if (start, end) == before:
            return start, max(start, end)


def _enclosing(body: str) -> tuple[str, str] | None:
    """The pair of marks around the whole of ``body``, if neither occurs inside."""
    for left, right in _PAIRS:
        inner = body[len(left) : len(body) - len(right)]
        whole = len(body) > len(left) + len(right)
        if whole and body.startswith(left) and body.endswith(right):
            return None if left in inner or right in inner else (left, right)
    return None


def _reach(rule: str, response: str, begin: int, *, sentence: bool) -> Anchor:
    """The anchor's answer: the rest of its line or sentence, else the lines below it."""
    below, opened = begin, None
    while skipped := _BLANK_OR_DELIMITER.match(response, below):
        below, opened = skipped.end(), skipped["open"] or opened
    if below > begin:
        empty = _EMPTY_LINE.search(response, below)
        end = empty.start() if empty else len(response)
        closing = response.find(_CLOSERS.get(opened, opened), below) if opened else -1
        end = closing if below < closing < end else end
    elif sentence:
        stop = _SENTENCE_END.search(response, begin)
        end = stop.start() if stop else len(response)
    else:
        newline = response.find("\n", begin)
        end = len(response) if newline < 0 else newline
    return Anchor(rule, *trim(response, below, end))


def _closing_brace(text: str, opening: int) -> int | None:
    r"""Index of the brace that closes the one at ``opening``; ``\{`` and ``\}`` do not count."""
    depth, index = 0, opening
    while index < len(text):
        char = text[index]
        if char == "\\":
            index += 1
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    return None
