"""Two quantities, compared without guessing at roundings and conversions."""

from __future__ import annotations

from fractions import Fraction

from nt_lightning.evaluation.equality.quantities import Quantity
from nt_lightning.evaluation.equality.verdict import NUMBER, Verdict, undecided
from nt_lightning.evaluation.equality.wording import Asked

# A factor between two numbers that a change of units explains: powers of ten, time, inches, pounds.
_FACTORS = frozenset({3, 4, 7, 12, 16, 24, 30, 36, 52, 60, 365, 1440, 1760, 3600, 5280, 86400})
_DEGREE_FACTORS = frozenset({60, 360, 3600})
_TEMPERATURES = frozenset({"k", "c", "f", "kelvin", "celsius", "fahrenheit", "degreec", "degreef"})
_ROUGH = Fraction(1, 20)  # how far apart rough values may be (our choice)


def compare(reference: Quantity, answer: Quantity, said: Asked) -> Verdict:
    """Whether two quantities are the same.

    ``45%`` equals 0.45, and 45 where the question asks for percentages. A unit may be left out.
    There is no verdict where the numbers differ and rounding, a change of units, a scale (5 for 5
    dozen) or a per cent sign may be why.

    Args:
        reference: The gold answer.
        answer: The answer.
        said: Words of the question, which may ask for percentages.
    """
    units = {reference.unit, answer.unit} - {""}
    sure, readings = _readings(answer, reference, said)
    if any(reference.value == one.value for one in sure):
        return Verdict(True, NUMBER) if len(units) < 2 else undecided("unit")
    if any(reference.value == one.value for one in readings):
        return undecided("unit")
    if (
        abs(reference.value) in (100 * abs(answer.value), abs(answer.value) / 100)
        and said.in_percent
    ):
        return undecided("unit")  # 0.7 for 70
    if any(is_rounding(reference, one) for one in readings):
        return undecided("rounding")
    if len(units) == 2 or (reference.unit != answer.unit and _may_convert(reference, answer)):
        return undecided("unit")
    unscaled = reference.value / reference.scale == answer.value / answer.scale
    return undecided("unit") if unscaled else Verdict(False, NUMBER)


def is_rounding(left: Quantity, right: Quantity) -> bool:
    """Whether one of two numbers is the other with fewer decimals, or near it and said roughly."""
    if is_shortened(left.value, left.place, right.value):
        return True
    if is_shortened(right.value, right.place, left.value):
        return True
    apart, larger = abs(left.value - right.value), max(abs(left.value), abs(right.value))
    return (left.is_rough or right.is_rough) and apart <= _ROUGH * larger


def is_shortened(short: Fraction, place: Fraction | None, full: Fraction) -> bool:
    """Whether a number is another one, rounded or cut off at a place."""
    if place is None:
        return False
    is_cut = short * full >= 0 and 0 <= abs(full) - abs(short) < place
    return is_cut or 2 * abs(full - short) <= place


def _readings(
    answer: Quantity, reference: Quantity, said: Asked
) -> tuple[list[Quantity], list[Quantity]]:
    """What an answer surely is, and may be, where only one of the two has a per cent sign.

    A number of 1 and less may be the share itself even where percentages are asked for, and a
    larger one may be the percentage where they are not.
    """
    if answer.is_percent == reference.is_percent:
        return [answer], [answer]
    scale = Fraction(1, 100) if answer.is_percent else Fraction(100)
    place = answer.place * scale if answer.place is not None else None
    share = answer._replace(value=answer.value * scale, place=place)
    plain = reference if answer.is_percent else answer
    if abs(plain.value) <= 1:
        return [share], [answer, share]
    return [answer] if said.in_percent else [], [answer, share]


def _may_convert(reference: Quantity, answer: Quantity) -> bool:
    """Whether two numbers, one of them with a unit, may be the same in different units."""
    unit = (reference.unit or answer.unit).lower()
    if unit in _TEMPERATURES:
        return True
    if not reference.value or not answer.value:
        return False
    factor = abs(reference.value / answer.value)
    factor = max(factor, 1 / factor)
    if unit == "degree":
        return factor in _DEGREE_FACTORS
    return factor in _FACTORS or (factor > 1 and set(str(factor)) == {"1", "0"})
