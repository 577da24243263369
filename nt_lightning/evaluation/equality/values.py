"""Values of expressions: of sums exactly, of LaTeX in many digits."""

from __future__ import annotations

import ast
import functools
import operator
import re
from fractions import Fraction
from typing import Any, Literal

DIGITS = 30  # of a value (our choice)
_SAME, _NEAR = 1e-24, 1e-9  # relative; sympy reads decimals as fractions, but has floats too
_POINTS = ("0.7390851332", "1.9021605831", "2.6180339887")  # for variables (our choice)

_SUM = re.compile(r"[\d.+*/() -]{1,200}")
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

Likeness = Literal["same", "near"] | None


def likeness(gold: str, answer: str) -> Likeness:
    r"""How near the values of two LaTeX expressions are, those of ``e^{i\pi}`` included.

    Expressions of the same variables are evaluated at three points. They are never the same, since
    ``|x|`` is x at all of them. There is no limit of time: the worker has one.

    Args:
        gold: The reference.
        answer: The answer.

    Returns:
        ``same``: equal in 24 digits. ``near``: in 9. ``None``: in fewer, or there is no value.
    """
    left, right = _expression(gold), _expression(answer)
    if left is None or right is None:
        return None
    names = {str(symbol) for side in (left, right) for symbol in side.free_symbols}
    if names and len(left.free_symbols) != len(right.free_symbols):
        return None
    points = _POINTS if names else _POINTS[:1]
    apart = [_apart(left, right, sorted(names), number) for number in range(len(points))]
    if any(one is None or one > _NEAR for one in apart):
        return None
    is_same = not names and all(one is not None and one < _SAME for one in apart)
    return "same" if is_same else "near"


def sum_value(text: str) -> Fraction | None:
    """The value of numbers between ``+ - * /`` and parentheses; ``None`` for anything else."""
    plain = text.strip().replace("×", "*").replace("÷", "/").replace("−", "-")
    if not _SUM.fullmatch(plain):
        return None
    try:
        return _value_of(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _value_of(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value):
            return Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            value = _OPERATIONS[type(op)](_value_of(left), _value_of(right))
            return Fraction(value)
    raise ValueError(ast.dump(node))


def _expression(latex: str) -> Any:
    """What math-verify reads, with ``i`` as the imaginary unit; ``None`` for sets and relations."""
    import sympy

    parse, rules = _parser()
    read = parse(f"${latex}$", rules, parsing_timeout=None)
    found = next((one for one in read if isinstance(one, sympy.Expr)), None)
    if found is None:
        return None
    return found.subs({symbol: sympy.I for symbol in found.free_symbols if str(symbol) == "i"})


def _apart(left: Any, right: Any, names: list[str], number: int) -> float | None:
    """The relative distance at a point; ``None`` where there is no value."""
    import sympy

    def value(side: Any) -> Any:
        place = {one: names.index(str(one)) + number for one in side.free_symbols}
        points = {one: sympy.Rational(_POINTS[at % len(_POINTS)]) for one, at in place.items()}
        return sympy.N(side.subs(points), DIGITS)

    try:
        values = [value(side) for side in (left, right)]
        apart = abs(sympy.N(values[0] - values[1], DIGITS))
        return float(apart / max(1, abs(values[0]), abs(values[1])))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None


@functools.cache
def _parser() -> tuple[Any, list[Any]]:
    import math_verify

    rules = [
        math_verify.LatexExtractionConfig(boxed_match_priority=0),
        math_verify.ExprExtractionConfig(),
    ]
    return math_verify.parse, rules
