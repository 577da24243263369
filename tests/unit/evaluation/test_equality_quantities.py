"""Numbers with units: how they are read and compared."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nt_lightning.evaluation.equality.comparison import compare, is_shortened
from nt_lightning.evaluation.equality.quantities import (
    currency,
    last_place,
    numbers_in,
    read_quantity,
)
from nt_lightning.evaluation.equality.wording import Asked


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("12", 12, ""),
        ("−1,234.5", Fraction(-12345, 10), ""),
        ("\\$18.90", Fraction(189, 10), "$"),
        ("10 000", 10_000, ""),
        ("3/4 cup", Fraction(3, 4), "cup"),
        ("\\frac34", Fraction(3, 4), ""),
        ("-\\dfrac{3}{14}", Fraction(-3, 14), ""),
        ("2 \\times 10^{5} m/s", 200_000, "m/s"),
        ("1.5e3 Pa", 1500, "Pa"),
        ("5 \\text{ cm}^2", 5, "cm2"),
        ("5 cm²", 5, "cm2"),
        ("90^\\circ", 90, "degree"),
        ("90 degrees", 90, "degree"),
        ("25 °C", 25, "degreec"),
        ("about 3 dozen eggs", 36, "egg"),
        ("x = 5", 5, ""),
        ("45\\%", 45, ""),
        ("9 square units.", 9, "squareunit"),
        ("$5", 5, "$"),
        ("$5$", 5, ""),
        ("5 dollars", 5, "$"),
        ("€5 per hour", 5, "€perhour"),
        ("5 = x", 5, ""),
        ("0.1\\overline{6}", Fraction(1, 6), ""),
    ],
)
def test_read(text: str, value: Fraction | int, unit: str) -> None:
    quantity = read_quantity(text)
    assert quantity is not None
    assert (quantity.value, quantity.unit) == (value, unit)


@pytest.mark.parametrize(
    "text",
    ["", "x", "5x", "2k", "2ab", "3R^2", "5r^5", "1 2", "1 1/2", "5 or 6", "5 of 10", "12\\pi"]
    + ["2 + 3", "4210_5", "(2,4)", "1,2", "12:30", "1/0", "five", "5 apples and a pear", "1e999"]
    + ["0.333...", "1, 2, \\ldots", "almost 5"],
)
def test_is_no_quantity(text: str) -> None:
    assert read_quantity(text) is None


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        ("12", "12.0", True),
        ("12", "-12", False),
        ("0", "0.04", False),
        ("0.0", "0.04", None),
        ("2", "2.4", False),
        ("2.5", "2.46", None),
        ("2.5", "2.44", False),
        ("2.5", "2.59", None),  # cut off
        ("33%", "1/3", False),
        ("33.3%", "1/3", None),
        ("0.25", "25 percent", True),
        ("5 m", "5 meters", None),
        ("5 meters", "5 Meter", True),
        ("5 mW", "5 MW", None),
        ("60", "1 hour", None),
        ("61", "1 hour", False),
        ("1000", "1 kg", None),
        ("3 \\times 10^8", "299792458", None),
        ("45", "45%", None),
        ("45", "46%", False),
        ("0.45", "45%", True),
        ("0.5", "0.5%", None),
        ("1", "1%", None),
        ("$5", "5 dollars", True),
        ("$5", "€5", None),
        ("5 dozen", "5", None),
        ("5 dozen", "60", True),
    ],
)
def test_compare(reference: str, answer: str, correct: bool | None) -> None:
    left, right = read_quantity(reference), read_quantity(answer)
    assert left is not None
    assert right is not None
    assert compare(left, right, Asked("")).correct is correct


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [("45", "45%", True), ("45", "46%", False), ("0.5", "0.5%", None), ("70", "0.7", None)],
)
def test_compare_where_percentages_are_asked_for(
    reference: str, answer: str, correct: bool | None
) -> None:
    left, right = read_quantity(reference), read_quantity(answer)
    assert left is not None
    assert right is not None
    assert compare(left, right, Asked("How many percent?")).correct is correct


def test_currency() -> None:
    assert currency("\\$32") == currency("it is $32 a day") == "$"
    assert currency("$32$") == currency("32") == ""
    assert currency("32 €") == "€"


def test_last_place() -> None:
    assert last_place("2.50") == Fraction(1, 100)
    assert last_place("2.5 \\times 10^{3}") == 100
    assert last_place("3e8") == 10**8
    assert last_place("25") is None
    assert last_place("1/3") is None


def test_shortened() -> None:
    assert is_shortened(Fraction("0.67"), Fraction("0.01"), Fraction(2, 3))
    assert is_shortened(Fraction("0.66"), Fraction("0.01"), Fraction(2, 3))
    assert not is_shortened(Fraction("0.65"), Fraction("0.01"), Fraction(2, 3))


def test_numbers_in() -> None:
    found = numbers_in("He pays $3.50 for 1,200 g, or 45%")
    assert [one.quantity.value for one in found] == [Fraction(7, 2), 1200, 45]
    assert found[1].before == "He pays 3.50 for"
    assert found[1].behind == " g, or 45%"
