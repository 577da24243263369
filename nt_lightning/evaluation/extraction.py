r"""Taking the answer out of a response; nothing is read before the last end of thinking.

The last anchor wins, a correction (``Wait, no: B``) included, and rule and span are kept, so that a
stored response can be graded again.
The rules are our choice, after the public parsers of simple-evals (``Answer: $LETTER``),
MMLU-Pro (``the answer is (X)``), GSM8K (``####``) and MATH (``\boxed{}``), without their known
mistakes: the first guess, an article read as option A, a guess inside the thinking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nt_lightning.evaluation.anchors import Anchor, find_anchors, trim, visible_start
from nt_lightning.evaluation.benchmark import AnswerKind
from nt_lightning.evaluation.letters import find_letter
from nt_lightning.evaluation.numbers import NUMBER, find_number

DEFAULT_OPTIONS = "ABCDEFGHIJ"

_VARIABLE = re.compile(r"[A-Za-z]\s*=\s*")
_INLINE_MATH = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)")
_WRAPPED = re.compile(r"(\*\*|`|\"|“|\$)(.+?)(?:\1|”)")
# Between two boxes that are two answers: "\boxed{1} or x = \boxed{2}".
_BOTH = re.compile(
    r"\}?(?:[\s$]|\\\))*(?:[,;]|,?\s*\b(?:and|or)\b)(?:[\s$]|\\\()*"
    r"(?:[A-Za-z]\w*\s*=)?(?:[\s$]|\\\()*\\(?:boxed|fbox)\s*\{?\s*"
)


class Extraction(NamedTuple):
    """An answer, the rule that found it, and its place: ``response[span[0]:span[1]] == answer``."""

    answer: str | None
    rule: str | None
    span: tuple[int, int] | None


NO_ANSWER = Extraction(None, None, None)


def extract(response: str, kind: AnswerKind, *, options: Sequence[str] | None = None) -> Extraction:
    r"""The final answer of a response.

    Args:
        response: What was generated, with the mode's prefix in front of it.
        kind: ``boxed``: the last complete ``\boxed{}``, unless it is one of two that are joined by
            "and", "or" or a comma; without one, the last ``Answer:`` or ``the answer is``.
            ``letter``: the last announced option letter; of several that are announced together
            the first, under a rule that ends with ``_first_of_several`` (see
            ``letters.find_letter``); a letter that is no option is no answer; without an
            announcement, a last line that is just a letter, or a response of one short line that
            begins with ``B.`` or ``B)``.
            ``number``: the first number behind the last announcement (behind its last ``=``); two
            of them (``3 or 4``, ``3-5``) are no answer; without one, the last number.
            ``exact``: all that the last announcement announces, without markup, quotes and final
            period, and without the variable of ``x = 5``; what stands in ``<answer>`` tags as it
            is; without any, the last non-empty line.
        options: Letters that are options, for ``letter``; A to J by default.

    Returns:
        The answer with rule and span; ``NO_ANSWER`` without one, or when a think block is open.
    """
    start = visible_start(response)
    if start is None:
        return NO_ANSWER
    anchors = find_anchors(response, start)
    if kind == "letter":
        found = find_letter(response, start, anchors, "".join(options or DEFAULT_OPTIONS))
    else:
        rules = {"boxed": _boxed, "number": find_number, "exact": _exact}
        found = rules[kind](response, start, anchors)
    if found is None:
        return NO_ANSWER
    return Extraction(response[found.start : found.end], found.rule, (found.start, found.end))


def _boxed(response: str, start: int, anchors: list[Anchor]) -> Anchor | None:
    boxes = [anchor for anchor in anchors if anchor.rule == "boxed"]
    if boxes:
        return None if _are_two(response, boxes[-2:]) else boxes[-1]
    for rule, begin, end in reversed(anchors):
        math = _INLINE_MATH.search(response, begin, end)
        group = (1 if math[1] is not None else 2) if math else 0
        span = math.span(group) if math else (begin, end)
        return Anchor(rule, *trim(response, *span))
    return None


def _are_two(response: str, boxes: list[Anchor]) -> bool:
    """Whether the last two boxes differ and only "and", "or" or a comma joins them."""
    texts = [response[box.start : box.end] for box in boxes]
    if len(set(texts)) < 2:
        return False
    return _BOTH.fullmatch(response, boxes[0].end, boxes[1].start) is not None


def _exact(response: str, start: int, anchors: list[Anchor]) -> Anchor | None:
    for rule, begin, end in reversed(anchors):
        if rule == "answer_tag":
            return Anchor(rule, begin, end)
        wrapped = _WRAPPED.match(response, begin, end) if rule.endswith("_is") else None
        span = trim(response, *wrapped.span(2)) if wrapped else (begin, end)
        if span[0] < span[1]:
            return Anchor(rule, *_assigned(response, *span))
    begin, end = trim(response, start, len(response))
    begin = max(begin, response.rfind("\n", begin, end) + 1)
    span = trim(response, begin, end)
    return Anchor("last_line", *_assigned(response, *span)) if span[0] < span[1] else None


def _assigned(response: str, start: int, end: int) -> tuple[int, int]:
    """The number alone where a span says ``x = 5``."""
    variable = _VARIABLE.match(response, start, end)
    if variable and NUMBER.fullmatch(response, variable.end(), end):
        return variable.end(), end
    return start, end
