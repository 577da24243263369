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
from nt_lightning.evaluation.grading import (
    MathGrader,
    UngradedError,
    exact_equal,
    number_equal,
    parse_number,
)
from nt_lightning.evaluation.grading_worker import Comparer


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader(limit_s=10.0)
    yield grader
    grader.close()


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        (r"\frac{1}{2}", "0.5", "equal"),
        (r"\frac{1}{2}", r"\dfrac{1}{2}", "equal"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)", "equal"),
        ("x^2 + 2x + 1", "(x+1)^2", "equal"),
        ("2\\sqrt{2}", "\\sqrt{8}", "equal"),
        ("\\{1, 2\\}", "\\{2, 1\\}", "equal"),
        ("5", "5 \\text{ cm}", "equal"),
        (r"\text{Evelyn}", r"\text{Evelyn}", "equal"),
        ("12", "13", "different"),
        ("12", "1 2", "different"),
        ("x^2", "x^3", "different"),
        ("5", "no idea", "different"),
        ("5", "", "different"),
    ],
)
def test_math_verdicts(grader: MathGrader, reference: str, answer: str, verdict: str) -> None:
    assert grader.verdict(reference, answer) == verdict


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
    assert grader.verdict("1", "0.5 + 0.5") == "equal"
    began = time.monotonic()
    assert grader.verdict("1", "9^{9^{9^{9}}}") == "timeout"
    assert time.monotonic() - began < 5
    assert grader.verdict("2", "0.5 + 1.5") == "equal"
    grader.close()


def test_works_off_the_main_thread(grader: MathGrader) -> None:
    verdicts: list[str] = []
    thread = threading.Thread(target=lambda: verdicts.append(grader.verdict("1/3", "2/6")))
    thread.start()
    thread.join()
    assert verdicts == ["equal"]


def test_a_dead_worker_is_replaced(grader: MathGrader) -> None:
    assert grader.verdict("1", "3-2") == "equal"
    assert grader.worker.process is not None
    grader.worker.process.kill()
    grader.worker.process.wait()
    assert grader.verdict("1", "4-3") == "equal"


def test_a_worker_that_dies_is_a_failure_and_the_next_comparison_works() -> None:
    grader = MathGrader(limit_s=10.0)
    assert grader.verdict("1", "3-2") == "equal"
    worker = grader.worker.process
    assert worker is not None
    os.kill(worker.pid, signal.SIGSTOP)  # so that it has no reply before it dies
    killer = threading.Timer(0.2, worker.kill)
    killer.start()
    assert grader.verdict("1", "4-3") == "failed"
    assert grader.verdict("1", "5-4") == "equal"
    grader.close()


def test_no_verdict_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(MathGrader):
        def verdict(self, reference: str, answer: str) -> grading.Verdict:
            return "timeout"

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
