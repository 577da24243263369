"""Verdicts and baselines against values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.pool.embedded.questions import HeldOutQuestion
from nt_lightning.pool.embedded.scoring import Guessing, baselines, guessing, score


def entry(answer: str, **metadata: Any) -> dict[str, Any]:
    return {"question": "?", "answer": answer, "metadata": metadata}


@pytest.mark.parametrize(
    ("family", "answer", "asked", "right"),
    [
        ("chain_sum", "5", entry("5"), True),
        ("chain_sum", "5.0", entry("5"), True),
        ("chain_sum", "6", entry("5"), False),
        ("chain_sum", "the answer is 5", entry("5"), False),
        ("complex_arithmetic", "7+6i", entry("7.0 + 6.0i", result=(7, 6)), True),
        ("complex_arithmetic", "7.0 + 6.1i", entry("7.0 + 6.0i", result=(7, 6)), False),
        ("word_sequence_reversal", "b, a", entry("b, a"), True),
        ("word_sequence_reversal", "b, a, c", entry("b, a"), False),  # partial credit is wrong
        ("family_relationships", " Mother", entry("mother"), True),
        ("calendar_arithmetic", "Friday", entry("Friday", task="weekday_offset"), True),
        ("calendar_arithmetic", "Sunday", entry("Friday", task="weekday_offset"), False),
    ],
)
def test_verdicts(family: str, answer: str, asked: dict[str, Any], right: bool) -> None:
    assert score(family, answer, asked) is right


@pytest.mark.parametrize("answer", ["", "i", "--", "1/0", "9" * 5000, "3j+2", "\x00", "['"])
def test_odd_answers_are_wrong_and_silent(answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not score("complex_arithmetic", answer, entry("7.0 + 6.0i", result=(7, 6)))
    assert not score("chain_sum", answer, entry("5"))
    assert capsys.readouterr() == ("", "")


def test_a_scorer_that_raises_says_wrong() -> None:
    """Without its metadata this family's scorer raises KeyError."""
    assert not score("calendar_arithmetic", "Friday", entry("Friday"))


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match=r"family is 'sums'; allowed: chain_sum, "):
        score("sums", "5", entry("5"))


def asked(family: str, answer: str) -> HeldOutQuestion:
    return HeldOutQuestion("id", "?", answer, family, "domain", {})


def test_guessing_by_family() -> None:
    found = guessing([("a", "1"), ("a", "1"), ("a", "2"), ("a", "3"), ("b", "x")])
    assert found == {"a": Guessing(1 / 3, 0.5, 4), "b": Guessing(1.0, 1.0, 1)}


def test_baselines_over_all_questions() -> None:
    questions = [
        asked("a", "1"),
        asked("a", "1"),
        asked("a", "2"),
        asked("b", "x"),
        asked("b", "y"),
    ]
    # chance: (3 * 1/2 + 2 * 1/2) / 5; majority: (3 * 2/3 + 2 * 1/2) / 5
    assert baselines(questions) == {"chance": pytest.approx(0.5), "majority": pytest.approx(0.6)}
    assert baselines([]) == {}
