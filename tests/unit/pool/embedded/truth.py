"""Reading the arithmetic out of a text, and saying which of it is false."""

from __future__ import annotations

import re
from fractions import Fraction

_NUMBER = r"(?:\(-\d+\)|-?\d+)"
_OPERATOR = r" [-+*/] "
# an expression of at least one operation, "=", and a number; "x = 9 - 8" has no claim to check
STATEMENT = re.compile(rf"\(?{_NUMBER}(?:{_OPERATOR}{_NUMBER}\)?)+ = -?\d+")


def statements(text: str) -> list[str]:
    return STATEMENT.findall(text)


def is_true(statement: str) -> bool:
    left, right = statement.split(" = ")
    value = eval(re.sub(r"\d+", r"Fraction(\g<0>)", left), {"Fraction": Fraction})
    return bool(value == int(right))
