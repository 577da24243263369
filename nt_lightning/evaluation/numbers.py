r"""Numbers as people write them: ``−1,234.5``, ``1 1/2``, ``\frac{3}{4}``, ``2 × 10⁵``."""

from __future__ import annotations

import re

from nt_lightning.evaluation.anchors import Anchor, trim

FRACTION = r"\\[dt]?frac\s*(?:\{\s*[\-−]?\d+\s*\}|\d)\s*(?:\{\s*[\-−]?\d+\s*\}|\d(?!\d))"
VULGAR = "[¼-¾⅐-⅞]"
SUPERSCRIPT = "⁻?[⁰¹²³⁴-⁹]+"
THOUSANDS = r"(?:,|\{,\}|\\,|[\u00a0\u2009\u202f])"  # between groups of three digits

_INTEGER = rf"(?:\d{{1,3}}(?:{THOUSANDS}\d{{3}})+(?!\d)|\d+)"
_POWER = rf"(?:\s?(?:\^|\*\*)\s?\{{?[\-−]?\d+\}}?|{SUPERSCRIPT})"
_EXPONENT = rf"(?:[eE][+\-−]?\d+|\s?(?:×|x|\\times|\\cdot)\s?10{_POWER})"
_NO_EXPONENT = r"(?<![A-Za-z_\d.^])(?<![\^_]\{)(?<![\^_]\{[\-−])"  # the 2 of m^2 and of m^{-2}
NUMBER = re.compile(
    r"(?<!\^)(?<![\^_]\{)(?:(?<![\w)\]}])[+\-−–]\s?\\?\$?)?"  # a sign, unless between two things
    rf"(?:(?:{_NO_EXPONENT}\d+\s?)?(?:{FRACTION}|{VULGAR})"
    r"|(?<![\w.^])\d+\s\d{1,2}/\d{1,2}(?![\d/])"
    rf"|{_NO_EXPONENT}\d+{_POWER}"
    rf"|{_NO_EXPONENT}(?:{_INTEGER}(?:\.\d+)?|\.\d+){_EXPONENT}?(?:\s?/\s?\d+(?!\d*/))?)"
    r"(?:\s?\\?%)?"
)
# "3 or 4", "3 to 5", "between 3 and 5", "x = 5 or x = -5", "3-5": two numbers are no answer.
_SECOND = re.compile(
    r"\s*(?:or|and|to)\s+(?:[A-Za-z]\s*=\s*)?(?=[\-−]?\s?\\?\$?\d)|[-–—](?=\d)(?=[^=\n]*$)",
    re.MULTILINE,
)


def find_number(response: str, start: int, anchors: list[Anchor]) -> Anchor | None:
    """The number of the last announcement that has one, else the last number."""
    for rule, begin, end in reversed(anchors):
        first = NUMBER.search(response, begin, end)
        if first is None:
            continue
        if _SECOND.match(response, first.end(), end):
            return None
        return Anchor(rule, *_unsigned(response, *_result(response, begin, end, first)))
    numbers = list(NUMBER.finditer(response, start))
    return Anchor("last_number", *_unsigned(response, *numbers[-1].span())) if numbers else None


def _result(response: str, begin: int, end: int, first: re.Match[str]) -> tuple[int, int]:
    """The number behind the last ``=``, but that in front of ``= 6 × 7``."""
    remark = response.find(" (", begin, end)
    equals = response.rfind("=", begin, remark if remark >= 0 else end)
    behind = NUMBER.search(response, equals + 1, end) if equals >= 0 else None
    if behind is None:
        return first.span()
    front = response[slice(*trim(response, begin, response.index("=", begin)))]
    calculation = response[slice(*trim(response, equals + 1, end))]
    if NUMBER.fullmatch(front) and re.search(r"\d\s*[+*/×÷·−-]\s*\d", calculation):
        return first.span()
    return behind.span()


def _unsigned(response: str, start: int, end: int) -> tuple[int, int]:
    start, end = trim(response, start, end)
    return (start + 1, end) if response[start] == "+" else (start, end)
