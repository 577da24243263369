"""Letters, and an order of options that everybody computes alike."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.options import Options, chance, option_order

FOUR = Options(("red", "green", "blue", "black"), gold=2)


def test_letters() -> None:
    assert (FOUR.letters, FOUR.gold_letter) == ("ABCD", "C")
    assert FOUR.lines() == "A) red\nB) green\nC) blue\nD) black"
    assert FOUR.lines(".") == "A. red\nB. green\nC. blue\nD. black"
    assert FOUR.listed() == "A, B, C, or D"
    assert FOUR.listed("and") == "A, B, C, and D"
    assert Options(("yes", "no"), 0).listed() == "A or B"
    assert Options(("yes",), 0).listed() == "A"


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="27 options; allowed: up to 26"):
        Options(("x",) * 27, 0)
    with pytest.raises(ValueError, match="number 3 of 2"):
        Options(("x", "y"), 2)
    with pytest.raises(ValueError, match="number 0 of 2"):
        Options(("x", "y"), -1)


@pytest.mark.parametrize("repeat", range(30))
def test_the_gold_letter_follows_its_option(repeat: int) -> None:
    shuffled = FOUR.shuffled("q7", seed=1, repeat=repeat)
    assert sorted(shuffled.texts) == sorted(FOUR.texts)
    assert shuffled.texts["ABCD".index(shuffled.gold_letter)] == "blue"


def test_two_equal_options_keep_the_gold_one() -> None:
    """The place is followed, not the text."""
    for repeat in range(20):
        order = option_order("q", 0, repeat, 3)
        shuffled = Options(("same", "same", "other"), gold=1).shuffled("q", 0, repeat)
        assert order[shuffled.gold] == 1


def test_the_order_is_of_question_seed_and_repeat() -> None:
    """Never to change: responses are stored in these orders. Values by coreutils' sha256sum."""
    assert option_order("q7", 0, 0, 4) == [0, 2, 1, 3]
    assert option_order("q7", 0, 1, 4) == [1, 3, 0, 2]
    assert option_order("q7", 1, 0, 4) == [2, 3, 1, 0]
    assert option_order("q8", 0, 0, 4) == [1, 0, 3, 2]
    code = (
        "from nt_lightning.evaluation.options import option_order; "
        "print(option_order('q7', 0, 1, 4))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(option_order("q7", 0, 1, 4))


@pytest.mark.parametrize("over", ["questions", "repeats", "seeds"])
def test_each_letter_is_gold_equally_often(over: str) -> None:
    """Not one letter for all questions, as a generator made anew for every row gives."""
    letters = Counter(
        FOUR.shuffled(
            f"q{n if over == 'questions' else 0}",
            n if over == "seeds" else 0,
            n if over == "repeats" else 0,
        ).gold_letter
        for n in range(4000)
    )
    assert set(letters) == set("ABCD")
    # 1000 each, with a standard deviation of 27
    assert all(abs(count - 1000) < 5 * 27 for count in letters.values()), letters


def test_chance_is_the_mean_over_problems() -> None:
    problems = [
        Problem(str(n), "?", "A", "letter", metadata={"options": letters})
        for n, letters in enumerate(["ABCD", "AB"])
    ]
    assert chance(problems) == (1 / 4 + 1 / 2) / 2
