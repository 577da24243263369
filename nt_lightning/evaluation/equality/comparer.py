"""math-verify, and how far its word can be trusted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Comparison(NamedTuple):
    """What math-verify makes of two answers.

    Args:
        equal: Whether they are equal.
        parsed: Whether both are mathematics to it; it compares other texts as texts.
        symbols: Names of the free symbols of the reference and of the answer; in small letters,
            since to math-verify ``R`` and ``r`` are the same.
        values: Numerical values, ``None`` where there is no single real one.
    """

    equal: bool
    parsed: bool
    symbols: tuple[frozenset[str], frozenset[str]]
    values: tuple[float | None, float | None]


class Comparer:
    """math-verify without time limits: those are the caller's."""

    def __init__(self) -> None:
        import math_verify

        self._library = math_verify
        self._rules = [
            math_verify.LatexExtractionConfig(boxed_match_priority=0),
            math_verify.ExprExtractionConfig(),
        ]

    def equal(self, reference: str, answer: str) -> bool:
        """Whether a LaTeX answer equals the reference."""
        return self._equal(self._parse(reference), self._parse(answer.strip("$ ")))

    def compare(self, reference: str, answer: str) -> Comparison:
        """Whether a LaTeX answer equals the reference, and how far that can be trusted."""
        gold, guess = self._parse(reference), self._parse(answer.strip("$ "))
        sides = [
            next((one for one in side if type(one) is not str), None) for side in (gold, guess)
        ]
        left, right = sides
        return Comparison(
            equal=self._equal(gold, guess),
            parsed=left is not None and right is not None,
            symbols=(_symbols(left), _symbols(right)),
            values=(_value(left), _value(right)),
        )

    def _parse(self, latex: str) -> list[Any]:
        # None: math-verify's own time limits set SIGALRM, which is the backstop here.
        return self._library.parse(f"${latex}$", self._rules, parsing_timeout=None)  # type: ignore[no-any-return]

    def _equal(self, gold: list[Any], guess: list[Any]) -> bool:
        return bool(self._library.verify(gold, guess, timeout_seconds=None))


def _symbols(expression: Any) -> frozenset[str]:
    return frozenset(str(symbol).lower() for symbol in getattr(expression, "free_symbols", ()))


def _value(expression: Any) -> float | None:
    if not getattr(expression, "is_number", False):
        return None
    try:
        value = float(expression)
    except (TypeError, ValueError, OverflowError):  # complex, too large
        return None
    return value if math.isfinite(value) else None
