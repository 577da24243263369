"""Where math-verify's word on two answers is not to be trusted."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from nt_lightning.evaluation.equality.comparer import Comparison
from nt_lightning.evaluation.equality.comparison import is_shortened
from nt_lightning.evaluation.equality.notation import clean_latex, relations
from nt_lightning.evaluation.equality.quantities import Quantity, read_quantity
from nt_lightning.evaluation.equality.texts import in_text, is_numeric, normalised

_KINDS = {  # what a whole text is
    "ordered": re.compile(r"(?:\\left)?\s*[(\[][^()\[\]]*,.*[)\]]$", re.DOTALL),  # (1, 2]
    "set": re.compile(r"(?:\\left)?\s*\\\{.*\\\}$", re.DOTALL),
    "matrix": re.compile(r"\\begin\s*\{[bpvBV]?matrix\}.*", re.DOTALL),
    "list": re.compile(r"[^()\[\]{},]+(?:,[^()\[\]{},]+)+$"),
}
_BEGINS_WITH_TEXT = re.compile(r"[\s$]*\\(?:text|textbf|mathrm|mbox|textrm)\s*\{")
_MEMBER = re.compile(r"\\in(?![a-z])")
_CLOSED = {"<", r"\le"}
_DEFINITION = re.compile(
    r"[\s$]*(?:\\text\s*\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z])(?:_\{?\w+\}?)?(?:\([^()=]*\))?"
    r"\s*(?:=|\\in(?![a-z]))[^=]*$"
)
_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_SEPARATORS = re.compile(r"\\\\|&|,")
_SHORT = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s?(?P<letter>[kKMB])")
_POINTED = re.compile(r"[-+]?\d+(?:,\d+|(?:\.\d{3})+)")
_LETTER_SCALES = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}


def differ_in_relations(gold: str, answer: str, are_equal: bool) -> bool:
    """Whether one has a sign of order or another relation that the other has not.

    math-verify drops some of them. It can be trusted with orders between two things: it tells
    ``x > 2`` from ``x < 2``, and its word that an interval is an inequality is good.
    """
    signs = relations(gold), relations(answer)
    if signs[0] == signs[1]:
        joined = [(*in_text(side), side.count(",")) for side in (gold, answer)]
        return signs[0] != () and joined[0] != joined[1]  # x > 2 and x < 3, of which it reads one
    if not all(_CLOSED.issuperset(side) for side in signs):
        return True
    intervals = [_kind_of(side) == "ordered" or _MEMBER.search(side) for side in (gold, answer)]
    return not all(signs) and not (are_equal and any(intervals))


def of_equality(gold: str, answer: str) -> str | None:
    """Where math-verify is too kind.

    It drops units, takes ``R`` for ``r``, a list or a set for a point or an interval, ``1, 2, 2``
    for ``1, 2``, and of an equation (``2x = 5``) the right side alone.
    """
    units = [{normalised(unit) for unit in in_text(side)} for side in (gold, answer)]
    if all(units) and units[0] != units[1]:
        return "unit"
    kinds = {_kind_of(gold), _kind_of(answer)}
    if "ordered" in kinds and not kinds.isdisjoint({"list", "set", "matrix"}):
        return "notation"
    if kinds == {"list"} and gold.count(",") != answer.count(","):
        return "notation"
    equations = [side for side in (gold, answer) if "=" in side]
    if len(equations) == 1 and not _is_result(equations[0]):
        return "notation"
    letters = {*_LETTERS.findall(gold), *_LETTERS.findall(answer)}
    return "notation" if any(letter.swapcase() in letters for letter in letters) else None


def of_difference(
    gold: str, answer: str, found: Comparison, quantity: Quantity | None
) -> str | None:
    """Where two answers that differ to math-verify may be the same."""
    if quantity and quantity.is_percent:
        return "unit"
    kinds = {_kind_of(gold), _kind_of(answer)}
    sizes = {len(_SEPARATORS.findall(side)) for side in (gold, answer)}
    if kinds == {"ordered", "matrix"} and len(sizes) == 1:
        return "notation"  # (1, 2) may be a column
    if kinds == {"ordered", "set"} or (len(kinds) == 2 and _inside(gold) == _inside(answer)):
        return "notation"  # [1, 2] may be a list
    if quantity and quantity.value in other_readings(answer):
        return "notation"
    if _BEGINS_WITH_TEXT.match(answer):
        return "unparsed"
    return of_values(gold, answer, found) or _of_names(gold, answer, found)


def other_readings(answer: str) -> set[Fraction]:
    """What a number may be beside mathematics: 5k is 5000, 12,5 is 12.5 and 1.000 is 1000."""
    answer = answer.strip(" $")
    if short := _SHORT.fullmatch(answer):
        value = Fraction(short["number"])
        return {value, value * _LETTER_SCALES[short["letter"]]}
    if _POINTED.fullmatch(answer):
        return {Fraction(answer.replace(",", ".") if "," in answer else answer.replace(".", ""))}
    return set()


def _kind_of(text: str) -> str | None:
    """Whether a text is a list, a set, a matrix or ordered: a point or an interval."""
    latex = clean_latex(text)
    return next((kind for kind, shape in _KINDS.items() if shape.match(latex)), None)


def _inside(text: str) -> str:
    """The members of a list, a set or a point, whose brackets may be of any kind."""
    return re.sub(r"\\left|\\right|^[\\{(\[\s]+|[\\})\]\s]+$|\s", "", clean_latex(text))


def _is_result(equation: str) -> bool:
    """Whether the right side alone is what an equation says: ``x = 5``, ``2 + 3 = 5``."""
    return bool(_DEFINITION.match(equation)) or is_numeric(equation.rpartition("=")[0])


def of_values(gold: str, answer: str, found: Comparison) -> str | None:
    """Values that differ by a rounding, or in that one is in degrees and one in radians."""
    left, right = found.values
    if left is None or right is None:
        return None
    values = Fraction(left), Fraction(right)
    for text, short, full in ((gold, *values), (answer, *values[::-1])):
        quantity = read_quantity(text)
        if is_shortened(short, quantity.place if quantity else None, full):
            return "rounding"
    if ("circ" in gold) == ("circ" in answer):
        return None
    in_degrees, in_radians = (left, right) if "circ" in gold else (right, left)
    return "unit" if math.isclose(in_degrees, math.degrees(in_radians)) else None


def _of_names(gold: str, answer: str, found: Comparison) -> str | None:
    """Other names of variables, which may mean the same, and a logarithm without its base."""
    symbols = [names - {"i"} for names in found.symbols]
    if all(symbols) and symbols[0] != symbols[1]:
        return "notation"
    logarithms = set(re.findall(r"\\ln|\\log", clean_latex(gold + " " + answer)))
    return "notation" if len(logarithms) > 1 else None
