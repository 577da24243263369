"""The reader of arithmetic itself: it finds statements, and it can say no."""

from __future__ import annotations

import pytest

from tests.unit.pool.embedded.truth import is_true, statements


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("First 4 + 1 = 5.", ["4 + 1 = 5"]),
        ("q = 12 - 7 = 5", ["12 - 7 = 5"]),
        ("-6 - (-10) = 4, 3 * 4 = 12", ["-6 - (-10) = 4", "3 * 4 = 12"]),
        ("x = (19 - 4) / 3 = 5", ["(19 - 4) / 3 = 5"]),
        ("4 -> 5, x = 9 - 8.", []),
    ],
)
def test_statements_are_found(text: str, found: list[str]) -> None:
    assert statements(text) == found


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [("4 + 1 = 5", True), ("4 + 1 = 6", False), ("(19 - 4) / 3 = 5", True), ("7 / 2 = 3", False)],
)
def test_statements_are_judged(statement: str, verdict: bool) -> None:
    assert is_true(statement) is verdict
