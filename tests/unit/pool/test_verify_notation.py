r"""Mathematics that math-verify reads as other mathematics: relations, periods, brackets."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.notation import (
    clean_latex,
    relations,
    turned,
    without_label,
    without_periods,
)
from nt_lightning.evaluation.equality.values import likeness, sum_value
from nt_lightning.pool.verification.rules import judge


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    return Comparer()


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        # relations
        ("\\ge 5", "\\le 5", None),
        ("> 5", "< 5", None),
        ("\\geq 10", "\\leq 10", None),
        ("\\ge x", "\\le x", None),
        ("\\ge 5", "\\geq 5", True),
        ("\\ge 5", "\\ge 6", False),
        ("5", "\\ge 5", None),
        ("5", "x > 5", None),
        ("5", "x \\equiv 5", None),
        ("5", "5 \\pmod{7}", None),
        ("2", "x \\neq 2", None),
        ("1/2", "1:2", None),
        ("x > 2", "x < 2", False),
        ("x > 2", "2 < x", True),
        ("x > 2", "x \\ge 2", False),
        ("x > 2", "(2, \\infty)", True),
        ("2<x<3", "3>x>2", True),
        ("2<x<3", "x \\in (2,3)", True),
        ("2<x<3", "x > 2 \\text{ and } x < 3", None),
        ("(2,3)", "2 < x < 3", None),
        # equations
        ("x = 5", "5 = x", True),
        ("5", "5 = x", True),
        ("5", "7 = 5", None),
        ("5", "\\frac{10}{2} = 5", True),
        ("3.33", "10/3 = 3.33", True),
        # repeating decimals
        ("0.\\overline{4}", "0.\\overline{3}", False),
        ("\\frac13", "0.\\overline{3}", True),
        ("0.\\overline{3}", "\\frac{1}{3}", True),
        ("1/3", "0.\\bar{3}", True),
        ("1/3", "0.\\dot{3}", True),
        ("1/6", "0.1\\overline{6}", True),
        ("\\frac{4}{11}", "0.\\overline{36}", True),
        ("1/3", "0.(3)", True),
        ("1/7", "0.\\dot{1}4285\\dot{7}", True),
        ("0.3", "0.\\overline{3}", None),
        ("1/3", "0.333...", None),
        ("0.333", "0.333...", None),
        # brackets
        ("(1,2)", "\\{1,2\\}", None),
        ("(1,2)", "\\{1,3\\}", None),
        ("1,2", "\\{1,2\\}", True),
        ("1,2", "[1,2]", None),
        ("1,2", "1,2,2", None),
        ("(1,2]", "(1,2)", False),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "(1,2)", None),
        # letters
        ("n", "n!", None),
        ("n", "n?", None),
        ("p", "!p", None),
        ("p", "p'", None),
        ("x", "[x]", None),
        ("x", "(x)", True),
        ("Mars", "'Mars'", True),
        ("the red planet", "The red planet!", True),
        # other numbers
        ("0", "0x10", None),
        ("16", "0x10", None),
        ("5", "5k", None),
        ("5000", "5k", None),
        ("4", "2k", False),
        ("12.5", "12,5", None),
        ("1000", "1.000", None),
        ("1.234", "1,234", None),
        ("-5", "5–10", None),
        ("10", "C(5,2)", None),
        ("2", "10_2", None),
        ("5", "101_2", None),
        ("6", "101_2", False),
        ("5 dozen", "5", None),
        ("$5", "€5", None),
        ("5 euros", "\\$5", None),
        ("5 dollars", "\\$5", True),
        ("5", "\\$5", True),
        ("5 cm", "\\$5", None),
        # values
        ("-1", "e^{i\\pi}", True),
        ("0.5", "\\sin 30^\\circ", True),
        ("\\frac12", "\\cos(60^\\circ)", True),
        ("\\frac12", "\\cos(61^\\circ)", False),
        ("-\\infty", "\\infty", None),
        # labels
        ("3", "\\textbf{(C) }3", True),
        ("\\textbf{(C)}\\ 3", "3", True),
        ("3", "\\textbf{(C) }4", False),
        # yes and no
        ("Yes", "\\text{Yes, but actually no.}", None),
        ("Yes", "\\text{Yes, it is not}", None),
        ("No", "\\text{No, it is not}", True),
        ("No", "\\text{No. It is true.}", None),
    ],
)
def test_verdicts(comparer: Comparer, gold: str, answer: str, correct: bool | None) -> None:
    assert judge("What is it?", f"So it is \\boxed{{{answer}}}.", gold, comparer).correct is correct


def test_relations() -> None:
    assert relations("x > 2") == relations("2 < x") == ("<",)
    assert relations("\\geqslant 2") == relations("≥ 2") == ("open \\ge",)
    assert relations("x \\neq 2") == ("\\ne",)
    assert relations("\\left( x = 2 \\right)") == ()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("3 \\ge x > 2", "2 < x \\le 3"),
        ("1 < x < 2", "1 < x < 2"),
        ("1 < x > 2", "1 < x > 2"),
        ("5 = x_1", "x_1 = 5"),
        ("\\sin 30^\\circ", "\\sin{\\frac{30\\pi}{180}}"),
        ("-0.\\overline{3}", "-\\frac{1}{3}"),
    ],
)
def test_clean_latex(text: str, clean: str) -> None:
    assert clean_latex(text) == clean


def test_texts_that_stay() -> None:
    assert turned("x = y") == "x = y"
    assert turned("2x = 5") == "2x = 5"
    assert without_periods("f(3) + 2.5") == "f(3) + 2.5"
    assert without_label("\\textbf{(C)}") == "\\textbf{(C)}"


@pytest.mark.parametrize(
    ("gold", "answer", "found"),
    [
        ("-1", "e^{i\\pi}", "same"),
        ("1 + i", "\\sqrt{2} e^{i\\pi/4}", "same"),
        ("2", "3", None),
        ("x", "|x|", "near"),  # at the points, which are positive
        ("x^2", "x^3", None),
        ("x", "y + z", None),
        ("x > 2", "3", None),
    ],
)
def test_likeness(gold: str, answer: str, found: str | None) -> None:
    assert likeness(gold, answer) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 + 3 * 4", 14), ("(10 − 4) ÷ 4", Fraction(3, 2)), ("-0.1 × 3", Fraction(-3, 10)), ("7", 7)]
    + [("1 / 0", None), ("2 ** 9", None), ("2 //  3", None), ("x + 1", None), ("1 2", None)]
    + [("(" * 90 + "1" + ")" * 90, 1), ("-" * 199 + "1", -1), ("", None), ("1.2.3", None)],
)
def test_sum_value(text: str, value: Fraction | int | None) -> None:
    assert sum_value(text) == value
