"""Mathematics: what math-verify says, where that can be trusted."""

from __future__ import annotations

import re
from fractions import Fraction

from nt_lightning.evaluation.equality import doubts
from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.comparison import is_shortened
from nt_lightning.evaluation.equality.notation import clean_latex
from nt_lightning.evaluation.equality.quantities import Quantity, read_quantity
from nt_lightning.evaluation.equality.texts import is_mathematical, is_numeric
from nt_lightning.evaluation.equality.values import likeness, sum_value
from nt_lightning.evaluation.equality.verdict import (
    MATHEMATICS,
    NUMBER,
    Announced,
    Verdict,
    undecided,
)
from nt_lightning.evaluation.equality.wording import Asked, changing, is_plain_beside

_BASED = re.compile(r"(?P<digits>[0-9A-Za-z]+)_\{?(?P<base>\d+)\}?")
# A calculation behind words, of which the first number is no exponent or index.
_LAST_EXPRESSION = re.compile(
    r"(?<![\d.,+*/×÷^)\-−$=])\s\$?[\d(][\d.,() $]*[-+*/×÷][-+*/×÷\d.,() $]*$"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TIMES = re.compile(r"(?<=[\s\d])x(?=\s*[$\d])")


def judge_mathematics(
    gold: str, final: Announced, comparer: Comparer, said: Asked, quantity: Quantity | None = None
) -> Verdict:
    """Whether an answer equals a reference as mathematics, where math-verify can be trusted.

    Args:
        gold: The reference.
        final: The answer.
        comparer: math-verify.
        said: Words of the question and the reference.
        quantity: What the reference is, where it is a plain number.
    """
    if not is_mathematical(final.text):
        return undecided("unparsed" if final.is_sure else "no answer")
    if not is_plain_beside(final.text, said) or changing(gold) - changing(final.text):
        return undecided("wording")
    sides = str(quantity.value) if quantity else clean_latex(gold), clean_latex(final.text)
    found = comparer.compare(*sides)
    if doubts.differ_in_relations(gold, final.text, found.equal):
        return undecided("notation")
    may_be_equal = found.parsed and not found.equal and None in found.values
    like = likeness(*sides) if may_be_equal else None
    if like == "near":
        return undecided("notation" if any(found.symbols) else "rounding")
    if found.equal or like == "same":
        doubt = doubts.of_equality(gold, final.text)
        return undecided(doubt) if doubt else Verdict(True, MATHEMATICS)
    if not found.parsed:
        return undecided("unparsed")
    doubt = doubts.of_difference(gold, final.text, found, quantity)
    return undecided(doubt) if doubt else Verdict(False, MATHEMATICS)


def holds(calculation: str, result: Quantity, comparer: Comparer) -> bool:
    """Whether a calculation comes to what is behind its ``=``, if it can be read: not 7 = 5."""
    values = [result.value, result.value / 100] if result.is_percent else [result.value]
    front = calculation.rstrip("= ").rpartition("=")[2]
    if "\\" not in front and (last := _LAST_EXPRESSION.search(_TIMES.sub("*", front))):
        front = last[0]
    front = _THOUSANDS.sub("", front).replace("$", "")
    if "\\" not in front:
        full = sum_value(front)
        return full is None or any(_comes_to(one, result.place, full) for one in values)
    front = clean_latex(front)
    if not is_numeric(front):
        return True
    for value in values:
        found = comparer.compare(str(value), front)
        if found.equal or _comes_to(value, result.place, found.values[1]):
            return True
    return False


def _comes_to(value: Fraction, place: Fraction | None, full: Fraction | float | None) -> bool:
    """Whether a value is the full one, perhaps rounded."""
    return full is not None and (value == full or is_shortened(value, place, Fraction(full)))


def judge_based(gold: str, answer: str) -> Verdict | None:
    """Numbers to a base, of which math-verify drops the base; ``None`` for anything else."""
    sides = [_BASED.fullmatch(re.sub(r"[\s$,]|\\!", "", side)) for side in (gold, answer)]
    based = [side for side in sides if side is not None and 2 <= int(side["base"]) <= 36]
    if not based or len(based) != sum(side is not None for side in sides):
        return None
    values = [_value_to_base(side["digits"], int(side["base"])) for side in based]
    if None in values:
        return undecided("unparsed")
    if len(based) == 2:
        return Verdict(values[0] == values[1], NUMBER)
    quantity = read_quantity(answer if sides[1] is None else gold)
    if quantity is None:
        return None
    # 40 for 40_9: the question may say the base, or the answer is to the base ten
    is_alike = str(quantity.value) == based[0]["digits"] or quantity.value == values[0]
    return undecided("notation") if is_alike else Verdict(False, NUMBER)


def _value_to_base(digits: str, base: int) -> Fraction | None:
    try:
        return Fraction(int(digits, base))
    except ValueError:
        return None
