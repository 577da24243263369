"""Mathematics: what math-verify says, and where that is not to be trusted."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from nt_lightning.evaluation.grading_worker import Comparer, Comparison
from nt_lightning.pool.verification.announced import Announced
from nt_lightning.pool.verification.quantities import Quantity, is_shortened, read_quantity
from nt_lightning.pool.verification.texts import (
    clean_latex,
    in_text,
    is_mathematical,
    is_numeric,
    normalised,
)
from nt_lightning.pool.verification.verdict import MATHEMATICS, NUMBER, Verdict, undecided

_BASED = re.compile(r"(?P<digits>[0-9A-Za-z]+)_\{?(?P<base>\d+)\}?")
_ORDERED = re.compile(r"(?:\\left)?\s*[(\[][^()\[\]]*,.*[)\]]$", re.DOTALL)  # (1, 2] and (1, 2)
_LISTED = re.compile(r"[^()\[\]{},]+(?:,[^()\[\]{},]+)+$")  # 1, 2
_DEFINITION = re.compile(
    r"[\s$]*(?:\\text\s*\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z])(?:_\{?\w+\}?)?(?:\([^()=]*\))?"
    r"\s*(?:=|\\in(?![a-z]))[^=]*$"
)
_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")


def judge_mathematics(
    gold: str, final: Announced, comparer: Comparer, quantity: Quantity | None = None
) -> Verdict:
    """Whether an answer equals a reference as mathematics, where math-verify can be trusted.

    Args:
        gold: The reference.
        final: The answer.
        comparer: math-verify.
        quantity: What the reference is, where it is a plain number.
    """
    if not is_mathematical(final.text):
        return undecided("unparsed" if final.is_sure else "no answer")
    latex = str(quantity.value) if quantity else clean_latex(gold)
    found = comparer.compare(latex, clean_latex(final.text))
    if found.equal:
        doubt = _doubt_of_equality(gold, final.text)
        return undecided(doubt) if doubt else Verdict(True, MATHEMATICS)
    if not found.parsed:
        return undecided("unparsed")
    doubt = "unit" if quantity and quantity.is_percent else None
    doubt = (
        doubt or _doubt_of_values(gold, final.text, found) or _doubt_of_names(gold, final, found)
    )
    return undecided(doubt) if doubt else Verdict(False, MATHEMATICS)


def _doubt_of_equality(gold: str, answer: str) -> str | None:
    """Where math-verify is too kind.

    It drops units, takes ``R`` for ``r``, a list for a point or an interval, and of an equation
    (``2x = 5``) the right side alone.
    """
    units = [{normalised(unit) for unit in in_text(side)} for side in (gold, answer)]
    if all(units) and units[0] != units[1]:
        return "unit"
    ordered = [_ORDERED.match(clean_latex(side)) is not None for side in (gold, answer)]
    listed = [_LISTED.match(clean_latex(side)) is not None for side in (gold, answer)]
    if (ordered[0] and listed[1]) or (listed[0] and ordered[1]):
        return "notation"
    equations = [side for side in (gold, answer) if "=" in side]
    if len(equations) == 1 and not _is_result(equations[0]):
        return "notation"
    letters = {*_LETTERS.findall(gold), *_LETTERS.findall(answer)}
    return "notation" if any(letter.swapcase() in letters for letter in letters) else None


def _is_result(equation: str) -> bool:
    """Whether the right side alone is what an equation says: ``x = 5``, ``2 + 3 = 5``."""
    return bool(_DEFINITION.match(equation)) or is_numeric(equation.rpartition("=")[0])


def _doubt_of_values(gold: str, answer: str, found: Comparison) -> str | None:
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


def _doubt_of_names(gold: str, final: Announced, found: Comparison) -> str | None:
    """Other names of variables, which may mean the same, and a logarithm without its base."""
    symbols = [names - {"i"} for names in found.symbols]
    if all(symbols) and symbols[0] != symbols[1]:
        return "notation"
    logarithms = set(re.findall(r"\\ln|\\log", clean_latex(gold + " " + final.text)))
    return "notation" if len(logarithms) > 1 else None


def judge_based(gold: str, answer: str) -> Verdict | None:
    """Numbers to a base, of which math-verify drops the base; ``None`` for anything else."""
    sides = [_BASED.fullmatch(re.sub(r"[\s$,]|\\!", "", side)) for side in (gold, answer)]
    reference, found = sides
    if reference is None or int(reference["base"]) not in range(2, 37):
        return None
    if found is not None:
        values = [_value_to_base(side["digits"], int(side["base"])) for side in (reference, found)]
        return undecided("unparsed") if None in values else Verdict(values[0] == values[1], NUMBER)
    quantity = read_quantity(answer)
    if quantity is None:
        return None
    # 40 for 40_9: the question may say the base, or the answer is to the base ten
    value = _value_to_base(reference["digits"], int(reference["base"]))
    is_alike = str(quantity.value) == reference["digits"] or quantity.value == value
    return undecided("notation") if is_alike else Verdict(False, NUMBER)


def _value_to_base(digits: str, base: int) -> Fraction | None:
    try:
        return Fraction(int(digits, base))
    except ValueError:
        return None
