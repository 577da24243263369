"""Equality of answers, and a worker that hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import pytest

from nt_lightning.evaluation import grading
from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.verdict import Verdict, undecided
from nt_lightning.evaluation.grading import (
    MathGrader,
    UngradedError,
    exact_equal,
    number_equal,
    parse_number,
)


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader(limit_s=10.0)
    yield grader
    grader.close()


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac{1}{2}", r"\dfrac{1}{2}", True),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)", True),
        ("x^2 + 2x + 1", "(x+1)^2", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("\\{1, 2\\}", "\\{2, 1\\}", True),
        ("5", "5 \\text{ cm}", True),
        (r"\text{Evelyn}", r"\text{Evelyn}", True),
        ("12", "13", False),
        ("x^2", "x^3", False),
        ("5", "-5", False),
        ("x \\le 3", "x \\ge 3", False),
        ("12", "1 2", None),
        ("5", "no idea", None),
        ("5", "not 5", None),
        ("5", "", False),
    ],
)
def test_math_verdicts(
    grader: MathGrader, reference: str, answer: str, correct: bool | None
) -> None:
    assert grader.verdict(reference, answer).correct is correct


def test_the_question_says_what_its_letters_are(grader: MathGrader) -> None:
    question = "Which one? (A) 6 (B) 7"
    assert grader.verdict("\\text{(B)}", "7", question) == (True, "letter")
    assert grader.verdict("\\text{(B)}", "6", question) == (False, "letter")
    assert grader.verdict("\\text{(B)}", "7") == (None, "free text")
    assert grader.verdict("\\text{(B)}", "A") == (False, "letter")


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("2k", "2n", (False, True, ({"k"}, {"n"}), (None, None))),
        ("R", "r", (True, True, ({"r"}, {"r"}), (None, None))),
        (r"\frac{1}{2}", "0.25", (False, True, (set(), set()), (0.5, 0.25))),
        (r"\infty", "1+i", (False, True, (set(), {"i"}), (None, None))),
        ("(((", "1", (False, False, (set(), set()), (None, 1.0))),
    ],
)
def test_comparison(reference: str, answer: str, expected: tuple[object, ...]) -> None:
    assert tuple(Comparer().compare(reference, answer)) == expected


def test_a_hanging_comparison_is_killed_and_the_next_one_works() -> None:
    grader = MathGrader(limit_s=1.0)
    assert grader.verdict("1", "0.5 + 0.5").correct
    began = time.monotonic()
    assert grader.verdict("1", "9^{9^{9^{9}}}") == (None, "timeout")
    assert time.monotonic() - began < 5
    assert grader.verdict("2", "0.5 + 1.5").correct
    grader.close()


def test_works_off_the_main_thread(grader: MathGrader) -> None:
    verdicts: list[bool | None] = []
    thread = threading.Thread(target=lambda: verdicts.append(grader.verdict("1/3", "2/6").correct))
    thread.start()
    thread.join()
    assert verdicts == [True]


def test_a_dead_worker_is_replaced(grader: MathGrader) -> None:
    assert grader.verdict("1", "3-2").correct
    assert grader.worker.process is not None
    grader.worker.process.kill()
    grader.worker.process.wait()
    assert grader.verdict("1", "4-3").correct


def test_a_worker_that_dies_is_a_failure_and_the_next_comparison_works() -> None:
    grader = MathGrader(limit_s=10.0)
    assert grader.verdict("1", "3-2").correct
    worker = grader.worker.process
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)  # so that it has no reply before it dies
    killer = threading.Timer(0.2, worker.kill)
    killer.start()
    assert grader.verdict("1", "4-3") == (None, "failed")
    assert grader.verdict("1", "5-4").correct
    grader.close()


def test_no_verdict_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(MathGrader):
        def verdict(self, reference: str, answer: str, question: str = "") -> Verdict:
            return undecided("timeout")

    monkeypatch.setattr(grading, "shared_grader", Hanging)
    with pytest.raises(UngradedError, match="timeout"):
        grading.math_equal("1", "2")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("\u22121,234.5", Fraction(-12345, 10)),
        ("$1,000", Fraction(1000)),
        ("3/4", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        (r"2 \times 10^5", Fraction(200_000)),
        ("1.5e3", Fraction(1500)),
        (".5", Fraction(1, 2)),
        ("45%", Fraction(45)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac{25}{12}", Fraction(25, 12)),
        (r"\frac{25}2", Fraction(25, 2)),
        (r"\frac{25}12", None),
        (r"12\frac{25}{32}", Fraction(12 * 32 + 25, 32)),
        (r"\frac{-1}{2}", Fraction(-1, 2)),
        ("\u00bd", Fraction(1, 2)),
        ("2\u00bd", Fraction(5, 2)),
        ("10^5", Fraction(100_000)),
        ("10^{-3}", Fraction(1, 1000)),
        ("-2^2", Fraction(-4)),
        ("10\u207b\u00b3", Fraction(1, 1000)),
        ("2 \u00d7 10\u2075", Fraction(200_000)),
        ("12{,}345", Fraction(12_345)),
        (r"12\,345", Fraction(12_345)),
        ("10^999", None),
        ("0^{-1}", None),
        ("1 1/0", None),
        (r"45\%", Fraction(45)),
        ("1/0", None),
        ("1e999999999", None),
        ("4210_5", None),
        ("twelve", None),
        ("", None),
    ],
)
def test_parse_number(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [
        ("12", "12.0", True),
        ("0.1", "1/10", True),
        ("1000", "1,000", True),
        ("45", "45%", True),
        ("0.45", "45%", True),
        ("45%", "0.45", True),
        ("45%", "45%", True),
        ("45%", "0.45%", False),
        ("12", "-12", False),
        ("12", "none", False),
    ],
)
def test_number_equal(reference: str, answer: str, equal: bool) -> None:
    assert number_equal(reference, answer) is equal


def test_exact_equal() -> None:
    assert exact_equal("Red  fox", "red fox")
    assert not exact_equal("red fox", "redfox")
