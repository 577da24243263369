"""Plain numbers with or without a unit: read, and compared without guessing at conversions."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from nt_lightning.evaluation.grading import parse_number
from nt_lightning.pool.verification.texts import name_set, unwrapped, words
from nt_lightning.pool.verification.verdict import NUMBER, Verdict, undecided

_TIMES_TEN = r"\s*(?:×|x|\\times|\\cdot|\*)\s*10\s*(?:\^|\*\*)\s*\{?\s*[+\-−]?\d+\s*\}?"
_NUMBER = re.compile(
    r"(?P<sign>[+\-−–]?)\s*[€£¥]?\s*(?P<number>"
    r"\\[dt]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*\d+\s*\}|\d(?!\d))"
    r"|(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?:\s\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    rf"(?:[eE][+\-−]?\d+|{_TIMES_TEN}|\s*/\s*\d+(?!\d*\.))?|\.\d+|\d+\.)"
    r"(?P<percent>\s*\\?%|\s+percent\b)?"
)
_ROUGHLY = re.compile(
    r"(?:approximately|approx\.?|about|around|roughly|nearly|almost|≈|~|\\approx|\\sim)\s*", re.I
)
_VARIABLE = re.compile(r"(?P<name>[A-Za-z](?:_\{?\w+\}?)?)\s*(?P<sign>=|≈|\\approx)\s*")
_SCALE = re.compile(r"\s*(?P<scale>hundred|thousand|million|billion|trillion|dozen)\b\s*", re.I)
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9} | {
    "trillion": 10**12,
    "dozen": 12,
}
_DECIMAL = re.compile(
    r"[-+]?\d*(?P<point>\.(?P<decimals>\d*))?"
    r"(?:(?:[eE]|(?:×|x|\\times|\\cdot|\*)10(?:\^|\*\*))(?P<exponent>[-+]?\d{1,3}))?"
)
_DEGREE = r"\^?\{?(?:\\circ|°)\}?"
_UNIT = re.compile(
    rf"(?:{_DEGREE}|[^\W\d_])(?:{_DEGREE}|[^\W\d_]|\^?\{{?[-−]?\d\}}?|[²³/·*'\-().\s]"
    r"|\\(?:cdot|,|;|:|!))*"
)
_UNIT_LETTERS = frozenset("mgshLlJNWVAKCFT")  # others are variables (our choice)
_SHORT_UNITS = name_set(
    "mm cm dm km kg mg ml mL dl dL ft in yd mi lb oz ms ns hr Hz eV kW mW MW kN kV mV mA kJ MJ Pa"
)
_NO_UNIT = name_set(
    "or and to more less least most than plus minus times if when where because since so is are "
    "was not in by of each both either with from out"
)
_LONGEST_UNIT = 4  # words (our choice)
# A factor between two numbers that a change of units explains: powers of ten, time, inches, pounds.
_FACTORS = frozenset({3, 4, 7, 12, 16, 24, 30, 36, 52, 60, 365, 1440, 1760, 3600, 5280, 86400})
_DEGREE_FACTORS = frozenset({60, 360, 3600})
_TEMPERATURES = frozenset({"k", "c", "f", "kelvin", "celsius", "fahrenheit", "degreec", "degreef"})
_ROUGH = Fraction(1, 20)  # how far apart rough values may be (our choice)


class Quantity(NamedTuple):
    """A number with its unit.

    Args:
        value: The number; of 45% it is 45.
        place: Value of its last decimal, ``None`` for whole numbers and fractions: those are exact.
        unit: In a form that can be compared, or nothing.
        is_percent: A per cent sign stands behind it.
        is_rough: It says that it is approximate.
        variable: ``x`` of ``x = 5``, or nothing.
    """

    value: Fraction
    place: Fraction | None
    unit: str
    is_percent: bool
    is_rough: bool
    variable: str


def read_quantity(text: str) -> Quantity | None:
    """The quantity that a whole text is; ``None`` for anything else."""
    text = re.sub(r"(?<=\d)(?:\{,\}|,?\\!)\s*(?=\d{3})", "", text)
    text = unwrapped(re.sub(r"\\[,;: ]|~", " ", text), gap=" ").strip(" .*")
    named = _VARIABLE.match(text)
    rest = text[named.end() :] if named else text
    rough = _ROUGHLY.match(rest)
    rest = rest[rough.end() :] if rough else rest
    number = _NUMBER.match(rest)
    value = _value(number) if number else None
    if number is None or value is None:
        return None
    place = last_place(number["number"])
    rest = rest[number.end() :]
    if scale := _SCALE.match(rest):
        factor = _SCALES[scale["scale"].lower()]
        value, rest = value * factor, rest[scale.end() :]
        place = place * factor if place else None
    unit = _unit(rest)
    if unit is None:
        return None
    is_rough = rough is not None or (named is not None and named["sign"] != "=")
    variable = named["name"] if named else ""
    return Quantity(value, place, unit, number["percent"] is not None, is_rough, variable)


def numbers_in(text: str) -> list[Quantity]:
    """All numbers of a text, without their units."""
    plain = unwrapped(text)
    found = (read_quantity(match[0]) for match in _NUMBER.finditer(plain))
    return [quantity for quantity in found if quantity is not None]


def says_roughly(text: str) -> bool:
    """Whether a text says that its number is approximate."""
    return _ROUGHLY.search(text) is not None


def last_place(text: str) -> Fraction | None:
    """What the last decimal of a number is worth; ``None`` for whole numbers and fractions."""
    found = _DECIMAL.fullmatch(re.sub(r"[\s$,{}]|\\?%$", "", text).replace("−", "-"))
    if not found or not (found["point"] or found["exponent"]):
        return None
    exponent = int(found["exponent"] or 0)
    return Fraction(10) ** (exponent - len(found["decimals"] or ""))


def compare(reference: Quantity, answer: Quantity) -> Verdict:
    """Whether two quantities are the same.

    ``45%`` equals 45 and 0.45 (our choice, as in ``grading.number_equal``). A unit may be left
    out. There is no verdict where the numbers differ and rounding or a change of units may be why.
    """
    units = {reference.unit, answer.unit} - {""}
    readings = _readings(answer, reference)
    if any(reference.value == one.value for one in readings):
        return Verdict(True, NUMBER) if len(units) < 2 else undecided("unit")
    if any(is_rounding(reference, one) for one in readings):
        return undecided("rounding")
    if len(units) == 2 or (reference.unit != answer.unit and _may_convert(reference, answer)):
        return undecided("unit")
    return Verdict(False, NUMBER)


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


def _value(number: re.Match[str]) -> Fraction | None:
    digits = re.sub(r"(?<!\*)\*(?!\*)", r"\\cdot", number["number"]).rstrip(".")
    digits = re.sub(r"frac\s*\{?\s*(-?\d+?)\s*\}?\s*\{?\s*(\d+)\s*\}?$", r"frac{\1}{\2}", digits)
    value = parse_number(digits)
    return -value if value is not None and number["sign"] in tuple("-−–") else value


def _unit(text: str) -> str | None:
    """A unit in a form that can be compared; ``None`` where the text is no unit."""
    is_apart = text[:1].isspace()
    text = text.strip(" .,*")
    if not text:
        return ""
    said = words(text)
    if not _UNIT.fullmatch(text) or len(said) > _LONGEST_UNIT or not _NO_UNIT.isdisjoint(said):
        return None
    letters = re.match(r"[^\W\d_]*", text)
    name = letters[0] if letters else ""
    if len(name) == 1 and not (is_apart and name in _UNIT_LETTERS):
        return None  # 2k is a product
    if len(name) == 2 and name not in _SHORT_UNITS:
        return None
    text = re.sub(_DEGREE, "degree", text).replace("²", "2").replace("³", "3")
    text = re.sub(r"\\(?:cdot|[,;:!])|[\s{}().^]", "", text)
    text = text.lower() if len(text) > 3 else text  # mW is no MW, but Meters are meters
    return re.sub(r"(?<=[a-z]{2})s$", "", text)


def _readings(answer: Quantity, reference: Quantity) -> list[Quantity]:
    """The answer, and what it is where only one of the two has a per cent sign."""
    if answer.is_percent == reference.is_percent:
        return [answer]
    scale = Fraction(1, 100) if answer.is_percent else Fraction(100)
    place = answer.place * scale if answer.place is not None else None
    return [answer, answer._replace(value=answer.value * scale, place=place)]


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
