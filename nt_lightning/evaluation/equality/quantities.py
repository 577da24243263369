"""Plain numbers with or without a unit, as they are read from a text."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from nt_lightning.evaluation.equality.notation import turned, without_periods
from nt_lightning.evaluation.equality.texts import name_set, unwrapped, words
from nt_lightning.evaluation.grading import parse_number

_TIMES_TEN = r"\s*(?:×|x|\\times|\\cdot|\*)\s*10\s*(?:\^|\*\*)\s*\{?\s*[+\-−]?\d+\s*\}?"
_NUMBER = re.compile(
    r"(?P<sign>[+\-−–]?)\s*[€£¥]?\s*(?P<number>"
    r"\\[dt]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*\d+\s*\}|\d(?!\d))"
    r"|(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,3}(?:\s\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    rf"(?:[eE][+\-−]?\d+|{_TIMES_TEN}|\s*/\s*\d+(?!\d*\.))?|\.\d+|\d+\.)"
    r"(?P<percent>\s*\\?%|\s+percent\b)?"
)
_ROUGHLY = re.compile(
    r"(?:approximately|approx\.?|about|around|roughly|≈|~|\\approx|\\sim)\s*", re.I
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
_CURRENCY = re.compile(r"[€£¥₹]|\\\$|\$(?=[\d\s,.]*\d[^$]*$)")
_MONEY_WORDS = (("dollar", "$"), ("usd", "$"), ("euro", "€"), ("yen", "¥"), ("rupee", "₹"))
_ELLIPSIS = re.compile(r"\.\.\.|…|\\[lc]?dots(?![a-z])")


class Quantity(NamedTuple):
    """A number with its unit.

    Args:
        value: The number; of 45% it is 45.
        place: Value of its last decimal, ``None`` for whole numbers and fractions: those are exact.
        unit: In a form that can be compared, or nothing.
        is_percent: A per cent sign stands behind it.
        is_rough: It says that it is approximate.
        variable: ``x`` of ``x = 5``, or nothing.
        scale: 1000 of ``5 thousand``.
        behind: What was read as the unit, as it stands there.
    """

    value: Fraction
    place: Fraction | None
    unit: str
    is_percent: bool
    is_rough: bool
    variable: str
    scale: int = 1
    behind: str = ""


def read_quantity(text: str) -> Quantity | None:
    """The quantity that a whole text is; ``None`` for anything else."""
    if _ELLIPSIS.search(text):
        return None
    money = currency(text)
    text = turned(without_periods(re.sub(r"(?<=\d)(?:\{,\}|,?\\!)\s*(?=\d{3})", "", text)))
    text = unwrapped(re.sub(r"\\[,;: ]|~|[€£¥₹]", " ", text), gap=" ").strip(" .*")
    named = _VARIABLE.match(text)
    rest = text[named.end() :] if named else text
    rough = _ROUGHLY.match(rest)
    rest = rest[rough.end() :] if rough else rest
    number = _NUMBER.match(rest)
    value = _value(number) if number else None
    if number is None or value is None:
        return None
    place, factor = last_place(number["number"]), 1
    rest = rest[number.end() :]
    if scale := _SCALE.match(rest):
        factor, rest = _SCALES[scale["scale"].lower()], rest[scale.end() :]
        place = place * factor if place else None
    unit = read_unit(rest, money)
    if unit is None:
        return None
    return Quantity(
        value=value * factor,
        place=place,
        unit=unit,
        is_percent=number["percent"] is not None,
        is_rough=rough is not None or (named is not None and named["sign"] != "="),
        variable=named["name"] if named else "",
        scale=factor,
        behind=rest,
    )


def currency(text: str) -> str:
    r"""The sign of a currency in a text: ``\$``, a ``$`` without a second one, or another."""
    found = _CURRENCY.search(text)
    return found[0].removeprefix("\\") if found else ""


class Placed(NamedTuple):
    """A number in a text, without its unit, and what stands in front of it and behind it."""

    quantity: Quantity
    before: str
    behind: str


def numbers_in(text: str) -> list[Placed]:
    """All numbers of a text."""
    plain = unwrapped(text)
    found = [(_value(match), match) for match in _NUMBER.finditer(plain)]
    return [
        Placed(
            Quantity(value, last_place(match["number"]), "", bool(match["percent"]), False, ""),
            plain[: match.start()],
            plain[match.end() :],
        )
        for value, match in found
        if value is not None
    ]


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


def _value(number: re.Match[str]) -> Fraction | None:
    digits = re.sub(r"(?<!\*)\*(?!\*)", r"\\cdot", number["number"]).rstrip(".")
    digits = re.sub(r"frac\s*\{?\s*(-?\d+?)\s*\}?\s*\{?\s*(\d+)\s*\}?$", r"frac{\1}{\2}", digits)
    value = parse_number(digits)
    return -value if value is not None and number["sign"] in tuple("-−–") else value


def read_unit(text: str, money: str = "") -> str | None:
    """A unit in a form that can be compared; ``None`` where the text is no unit.

    Args:
        text: What stands behind a number.
        money: The sign of a currency, which is a part of the unit.
    """
    is_apart = text[:1].isspace()
    text = text.strip(" .,*")
    if not text:
        return money
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
    for word, sign in _MONEY_WORDS:
        if text.startswith(word):
            text, money = re.sub("^s", "", text.removeprefix(word)), sign
    return money + re.sub(r"(?<=[a-z]{2})s$", "", text)
