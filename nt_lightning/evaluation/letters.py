r"""Letters of options as responses name them, and what is only an article or a pronoun."""

from __future__ import annotations

import re

from nt_lightning.evaluation.anchors import Anchor, is_claimed, trim

SEVERAL = "_first_of_several"  # behind the rule of an announcement that lists several letters
_LONGEST_OPTION_LINE = 200  # characters; a longer line is reasoning (our choice)

_OPEN = r"(?:[*_`\"'“‘$({\[（【]|<\w+>|\\(?:text|mathrm|mathbf|textbf|textit|mathit)\{|\\\()*"
_END = r"(?![A-Za-z0-9]|_\w|['’][A-Za-z])"  # of a letter that is no word
_LETTER = re.compile(
    r"\s*(?i:(?:clearly|likely|most\s+likely|probably|definitely|therefore|thus|indeed|simply"
    r"|(?:the\s+)?(?:option|choice|letter))\s+)*"
    rf"(?P<open>{_OPEN})(?P<letter>[A-Za-z]){_END}(?P<close>(?:[*_`\"'”’$)}}\]）】]|\\\))*)"
)
# "A and B", "A or B", "A/B", "A, B"
_SECOND_LETTER = re.compile(
    r"\s*(?:(?:and|or|/|&|\+)\s*(?:option\s+)?[*(\[]*(?P<other>[A-Z])(?![A-Za-z0-9_'’])"
    r"|,\s*[*(\[]*(?P<listed>[A-Z])[*)\]]*\s*(?:,|and\b|or\b|\.?\s*(?:\n|$)))"
)
_REASON_BEHIND = re.compile(r"\s+(?:because|since|as|for|which|is|was|and|or|with|in)\b")
_BRACKETED = re.compile(r"[(\[（【]|\*\*")
_LETTER_LINE = re.compile(
    r"\s*(?:(?i:therefore|thus|so|hence),?\s+)?[*_(\[]*(?P<letter>[A-Za-z])[*_)\].:]*"
)
_OPTION_LINE = re.compile(r"\s*[*_(\[]*(?P<letter>[A-Z])[*_]*[)\].:]+[*_]*\s+\S")
_IS = r"\s+(?:is|must\s+be|should\s+be|would\s+be)\s+(?:(?:therefore|thus|indeed|\w+ly)\s+)?"
_BEST = "(?:only|correct|right|best)"
# "B is the answer", "option (B) is correct"
_IN_FRONT = re.compile(
    r"(?<![\w'’])(?P<noun>(?:option|choice|answer)\s+)?[*(\[]*(?P<letter>[A-Z])[*)\]]*"
    rf"{_IS}(?:the\s+(?:{_BEST}\s+)?(?:answer|option|choice)\b|(?(noun){_BEST}\b(?!\s+\w)|(?!)))",
    re.IGNORECASE,
)
_JOINED = re.compile(r"(?:\b(?:and|or|nor)|[,/&])\s*$", re.IGNORECASE)


def find_letter(response: str, start: int, anchors: list[Anchor], options: str) -> Anchor | None:
    """The letter of the last announcement that has one; else that of a line which is a letter.

    An announcement that lists several (``The answer is (A) and (B)``) counts as its first one, as
    in MMLU-Pro's official scorer, so that scores compare with published ones (our choice; other
    graders take such a response for unanswered). The rule then ends with ``SEVERAL``.

    Args:
        response: All of it.
        start: Where its visible text begins.
        anchors: What it announces.
        options: Letters that are options.
    """
    anchors = sorted([*anchors, *_in_front(response, start)], key=lambda anchor: anchor.start)
    for rule, begin, end in reversed(anchors):
        match = _LETTER.match(response, begin)
        if not match or match.start("letter") >= end:
            continue
        if not _is_option_like(response, match, end, options):
            continue
        if match["letter"].upper() not in options:
            return None
        several = SEVERAL if _lists_more(response, match) else ""
        return Anchor(rule + several, *match.span("letter"))
    return _unannounced(response, start, options)


def _in_front(response: str, start: int) -> list[Anchor]:
    """Letters that stand in front of "is the answer"."""
    return [
        Anchor("answer_in_front", *match.span("letter"))
        for match in _IN_FRONT.finditer(response, start)
        if match["letter"].isupper()
        and not _JOINED.search(response, start, match.start())
        and is_claimed(response, start, match.start())
    ]


def _is_option_like(response: str, match: re.Match[str], end: int, options: str) -> bool:
    """Whether a letter names an option and is no article, pronoun or variable."""
    letter, behind = match["letter"], response[match.end() :]
    if behind[:1] == ")" or ")" in match["close"] or _BRACKETED.search(match["open"]):
        return True
    if letter.islower():  # alone in its sentence, line or box
        return letter.upper() in options and not response[match.end() : end].strip(" .!*")
    if letter in "AI" and re.match(r"\s+[a-z]", behind):
        return _REASON_BEHIND.match(behind) is not None
    return True


def _lists_more(response: str, match: re.Match[str]) -> bool:
    """Whether another letter is announced with this one."""
    second = _SECOND_LETTER.match(response, match.end())
    if not second:
        return False
    return not (second["other"] in ("A", "I") and re.match(r"\s+[a-z]", response[second.end() :]))


def _unannounced(response: str, start: int, options: str) -> Anchor | None:
    begin, end = trim(response, start, len(response))
    last = max(begin, response.rfind("\n", begin, end) + 1)
    is_all = last == begin
    match, rule = _LETTER_LINE.fullmatch(response, last, end), "letter_line"
    if not match and is_all and end - begin <= _LONGEST_OPTION_LINE:
        match, rule = _OPTION_LINE.match(response, last, end), "option_line"
    if not match or (match["letter"].islower() and not is_all):
        return None
    return Anchor(rule, *match.span("letter")) if match["letter"].upper() in options else None
