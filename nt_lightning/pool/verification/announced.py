"""The answer that a trace announces, as a whole: all of its boxes, all of its sentence."""

from __future__ import annotations

import re
from typing import NamedTuple

from nt_lightning.evaluation.anchors import find_anchors, find_boxes, trim, visible_start
from nt_lightning.evaluation.equality.verdict import Announced
from nt_lightning.evaluation.equality.wording import Asked, is_plain
from nt_lightning.evaluation.extraction import extract

_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LONGEST_ANSWER = 8  # words that are an answer without saying so (our choice)
_SENTENCES = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])[.!?]\**\s+(?=\S)")  # not behind Mr.
# What belongs to a box though it stands outside: a sign, a percentage, a factor.
_LEADS_ON = re.compile(r"[=$(\[]\s*([-−])\s*$")
_GOES_ON = re.compile(r"\}\s*(\\?%|\\(?:pi|sqrt|cdot|times)[^$]*|[\^/+][^$\n]*)")
_INLINE_MATH = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)")


def answer_block(answer: str) -> str | None:
    """What stands in the last ``<answer>`` tags, as reasoning-gym asks for it."""
    blocks = _BLOCK.findall(answer)
    return blocks[-1].strip() if blocks else None


def announced(answer: str) -> Announced | None:
    r"""The answer of a trace, by the rules of ``evaluation.extraction``, but never a part of it.

    Extraction for benchmarks takes the last box and the first formula behind ``the answer is``. Of
    ``\boxed{1} and \boxed{2}`` that is half of the answer, so all boxes of the last one's line
    count, and a sentence with more than one number or formula counts as a whole.
    """
    if (block := answer_block(answer)) is not None:
        answer = block
        if "\\boxed" not in block:
            return Announced(block, is_sure=True) if block else None
    start = visible_start(answer)
    if start is not None and (boxes := list(find_boxes(answer, start))):
        return _boxes(answer, boxes)
    found = extract(answer, "boxed")
    if found.span is not None and answer[found.span[1] :][:1] == "!" and found.answer:
        return Announced(found.answer + "!", is_sure=False)  # a factorial, or the end
    if found.span is not None and not (whole := _announcement(answer, found.span)).is_heading:
        return Announced(whole.text, is_sure=True)
    return _last_line(answer)


def _boxes(answer: str, spans: list[tuple[int, int]]) -> Announced:
    """Different boxes in the line of the last one, as a list."""
    last = spans[-1]
    line = answer.rfind("\n", 0, last[0]) + 1
    boxes = [(begin, answer[begin:end]) for begin, end in spans]
    text = ", ".join(dict.fromkeys(box for begin, box in boxes if begin >= line))
    before = _LEADS_ON.search(answer, line, answer.rfind("\\", line, last[0]))
    behind = _GOES_ON.match(answer, last[1])
    if before or behind:
        whole = (before[1] if before else "") + text + (behind[1] if behind else "")
        return Announced(whole, is_sure=False)
    return Announced(text, is_sure=len({box for _, box in boxes}) == 1)


class _Announcement(NamedTuple):
    """What an anchor announces; ``is_heading``: several sentences behind ``Answer:``."""

    text: str
    is_heading: bool = False


def _announcement(answer: str, span: tuple[int, int]) -> _Announcement:
    start = visible_start(answer) or 0
    around = [one for one in find_anchors(answer, start) if one.start <= span[0] <= one.end]
    if not around:
        return _Announcement(answer[slice(*span)])
    whole = answer[around[-1].start : around[-1].end]
    if _SENTENCES.search(whole):
        return _Announcement(whole, is_heading=True)
    formulas = _INLINE_MATH.findall(whole)
    beside = _INLINE_MATH.sub(" ", whole)
    if len(formulas) == 1 and not re.search(r"\d", beside) and is_plain("", beside, Asked("")):
        return _Announcement(answer[slice(*span)])
    return _Announcement(whole)


def _last_line(answer: str) -> Announced | None:
    start = visible_start(answer)
    if start is None:
        return None
    begin, end = trim(answer, start, len(answer))
    last = max(begin, answer.rfind("\n", begin, end) + 1)
    is_all = last == begin and len(answer[last:end].split()) <= _LONGEST_ANSWER
    if behind := list(_SENTENCES.finditer(answer, last, end)):
        last, is_all = behind[-1].end(), False
    text = answer[slice(*trim(answer, last, end))]
    return Announced(text, is_sure=is_all, is_announced=False) if text else None
