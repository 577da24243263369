r"""Taking the answer out of a response; nothing is read before the last end of thinking.

The last anchor wins, and rule and span are kept, so that a stored response can be graded again.
The rules are our choice, after the public parsers of simple-evals (``Answer: $LETTER``),
MMLU-Pro (``the answer is (X)``), GSM8K (``####``) and MATH (``\boxed{}``), without their known
mistakes: the first guess, an article read as option A, a guess inside the thinking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nt_lightning.evaluation.anchors import Anchor, find_anchors, trim, visible_start
from nt_lightning.evaluation.benchmark import AnswerKind

DEFAULT_OPTIONS = "ABCDEFGHIJ"
_LONGEST_OPTION_LINE = 200  # characters; a longer line is reasoning (our choice)

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_EXPONENT = r"(?:[eE][+\-−]?\d+|\s?(?:×|x|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?[\-−]?\d+\}?)"
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[+\-−–]\s?\$?)?"  # a sign, unless it stands between two things
    r"(?:\\[dt]?frac\{\s*[\-−]?\d+\s*\}\{\s*[\-−]?\d+\s*\}"
    rf"|(?<![A-Za-z_\d.])(?:{_INTEGER}(?:\.\d+)?|\.\d+){_EXPONENT}?(?:\s?/\s?\d+(?!\d*/))?)"
    r"(?:\s?\\?%)?"
)
_LETTER = re.compile(
    r"\s*(?:(?:clearly|likely|most\s+likely|probably|definitely|therefore|thus|indeed|simply"
    r"|option|choice|letter)\s+)*"
    r"(?P<open>[*_`\"'“‘$({\[]|\\(?:text|mathrm|mathbf|textbf)\{|\\\()*"
    r"(?P<letter>[A-Za-z])(?![A-Za-z0-9_'’])(?P<close>[*_`\"'”’$)}\]]|\\\))*"
)
# "A and B", "A or B", "A/B", "A, B": two answers are no answer.
_SECOND_LETTER = re.compile(
    r"\s*(?:(?:and|or|/|&|\+)\s*(?:option\s+)?[*(\[]*(?P<other>[A-Z])(?![A-Za-z0-9_'’])"
    r"|,\s*[*(\[]*(?P<listed>[A-Z])[*)\]]*\s*(?:,|and\b|or\b|\.?\s*(?:\n|$)))"
)
_REASON_BEHIND = re.compile(r"\s+(?:because|since|as|for|which|is|was|and|or|with|in)\b")
_LETTER_LINE = re.compile(r"[*_(\[]*(?P<letter>[A-Z])[*_)\].:]*")
_OPTION_LINE = re.compile(r"[*_(\[]*(?P<letter>[A-Z])[*_]*[)\].:]+[*_]*\s+\S")
_VARIABLE = re.compile(r"[A-Za-z]\s*=\s*")
_INLINE_MATH = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)")
_WRAPPED = re.compile(r"(\*\*|`|\"|“|\$)(.+?)(?:\1|”)")


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
        kind: ``boxed``: the last complete ``\boxed{}``; without one, the last ``Answer:`` or
            ``the answer is``. ``letter``: the last announced option letter; a letter that is no
            option, or two of them, is no answer; without an announcement, a last line that is
            just a letter, or a response of one short line that begins with ``B.`` or ``B)``.
            ``number``: the first number behind the last announcement (behind its last ``=``);
            without one, the last number. ``exact``: all that the last announcement announces,
            without markup, quotes and final period, and without the variable of ``x = 5``;
            without one, the last non-empty line.
        options: Letters that are options, for ``letter``; A to J by default.

    Returns:
        The answer with rule and span; ``NO_ANSWER`` without one, or when a think block is open.
    """
    start = visible_start(response)
    if start is None:
        return NO_ANSWER
    anchors = find_anchors(response, start)
    if kind == "letter":
        return _letter(response, start, anchors, "".join(options or DEFAULT_OPTIONS))
    rule: Callable[[str, int, list[Anchor]], Extraction] = {
        "boxed": _boxed,
        "number": _number,
        "exact": _exact,
    }[kind]
    return rule(response, start, anchors)


def _extraction(response: str, rule: str, start: int, end: int) -> Extraction:
    return Extraction(response[start:end], rule, (start, end))


def _boxed(response: str, start: int, anchors: list[Anchor]) -> Extraction:
    boxes = [anchor for anchor in anchors if anchor.rule == "boxed"]
    if boxes:
        return _extraction(response, *boxes[-1])
    for rule, begin, end in reversed(anchors):
        math = _INLINE_MATH.search(response, begin, end)
        group = (1 if math[1] is not None else 2) if math else 0
        span = math.span(group) if math else (begin, end)
        return _extraction(response, rule, *trim(response, *span))
    return NO_ANSWER


def _exact(response: str, start: int, anchors: list[Anchor]) -> Extraction:
    for rule, begin, end in reversed(anchors):
        wrapped = _WRAPPED.match(response, begin, end) if rule.endswith("_is") else None
        span = trim(response, *wrapped.span(2)) if wrapped else (begin, end)
        if span[0] < span[1]:
            return _extraction(response, rule, *_assigned(response, *span))
    begin, end = trim(response, start, len(response))
    begin = max(begin, response.rfind("\n", begin, end) + 1)
    span = trim(response, begin, end)
    if span[0] == span[1]:
        return NO_ANSWER
    return _extraction(response, "last_line", *_assigned(response, *span))


def _assigned(response: str, start: int, end: int) -> tuple[int, int]:
    """The number alone where a span says ``x = 5``."""
    variable = _VARIABLE.match(response, start, end)
    if variable and _NUMBER.fullmatch(response, variable.end(), end):
        return variable.end(), end
    return start, end


def _number(response: str, start: int, anchors: list[Anchor]) -> Extraction:
    for rule, begin, end in reversed(anchors):
        remark = response.find(" (", begin, end)
        before_remark = remark if remark >= 0 else end
        equals = response.rfind("=", begin, before_remark)
        found = _NUMBER.search(response, equals + 1 if equals >= 0 else begin, end)
        if found:
            return _extraction(response, rule, *_number_span(response, found.span()))
    numbers = list(_NUMBER.finditer(response, start))
    if not numbers:
        return NO_ANSWER
    return _extraction(response, "last_number", *_number_span(response, numbers[-1].span()))


def _number_span(response: str, span: tuple[int, int]) -> tuple[int, int]:
    start, end = trim(response, *span)
    return (start + 1, end) if response[start] == "+" else (start, end)


def _letter(response: str, start: int, anchors: list[Anchor], options: str) -> Extraction:
    for rule, begin, end in reversed(anchors):
        match = _LETTER.match(response, begin)
        if not match or match.start("letter") >= end or not _is_option_like(response, match, rule):
            continue
        if match["letter"].upper() not in options or _names_two(response, match):
            return NO_ANSWER
        return _extraction(response, rule, *match.span("letter"))
    return _unannounced_letter(response, start, options)


def _is_option_like(response: str, match: re.Match[str], rule: str) -> bool:
    """Whether a letter names an option and is no article, pronoun or variable."""
    letter, behind = match["letter"], response[match.end() :]
    if behind[:1] == ")" or match["close"] == ")" or match["open"] in ("(", "[", "**"):
        return True
    alone = not behind.split("\n", 1)[0].strip(" .")
    if letter.islower():
        return rule == "boxed" or (rule == "answer_colon" and alone)
    if letter in "AI" and re.match(r"\s+[a-z]", behind):
        return _REASON_BEHIND.match(behind) is not None
    return True


def _names_two(response: str, match: re.Match[str]) -> bool:
    second = _SECOND_LETTER.match(response, match.end())
    if not second:
        return False
    return not (second["other"] in ("A", "I") and re.match(r"\s+[a-z]", response[second.end() :]))


def _unannounced_letter(response: str, start: int, options: str) -> Extraction:
    begin, end = trim(response, start, len(response))
    last = max(begin, response.rfind("\n", begin, end) + 1)
    line = response[last:end].strip()
    match = _LETTER_LINE.fullmatch(line)
    rule = "letter_line"
    if not match and last == begin and len(line) <= _LONGEST_OPTION_LINE:
        match, rule = _OPTION_LINE.match(line), "option_line"
    if not match or match["letter"] not in options:
        return NO_ANSWER
    at = response.index(match["letter"], last)
    return _extraction(response, rule, at, at + 1)
