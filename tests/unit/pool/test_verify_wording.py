"""Numbers in words: what denies, bounds or scales them leaves them undecided."""

from __future__ import annotations

import pytest

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.wording import Asked, changing, is_plain
from nt_lightning.pool.verification.rules import judge

APPLES = "Tom has twice as many apples as Ann, and half of them are red. How many has he, not she?"
MORE = "Ann has 9 apples. How many more apples does Tom have than Ann?"
PERCENT = "What percentage of the students passed?"


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    return Comparer()


CHANGED = [
    *("The answer is not 5.", "The answer isn't 5.", "The answer cannot be 5.", "It is never 5"),
    *("The answer is no longer 5", "The answer is at most 5.", "The answer is less than 5."),
    *("The answer is greater than 5.", "The answer is more than 5", "The answer is minus 5"),
    *("The answer is negative 5", "The answer is twice 5", "The answer is half of 5"),
    *("The answer is one over 5", "The answer is square root of 5", "The answer is 5 less than x"),
    *("The answer is 5 squared", "The answer is 5 factorial", "The answer is 5 percent"),
    *("The answer is 5 thousandths", "The answer is 5 tenths", "The answer is 5 remainder 2"),
    *("The answer is 5 hundred", "The answer is 5 dozen", "The answer is almost 5"),
    *("The answer is the reciprocal of 5", "The answer is 5 is not right", "The answer is 5th"),
    *("The answer is not $5$.", "The answer is at most $5$.", "The answer is 5!"),
    *("The answer is either 5 or 6", "The answer is 5, not 6", "The answer is 5 if x is even"),
    *("\\boxed{5+}", "\\boxed{5 \\text{ or more}}", "\\boxed{\\text{at least } 5}"),
    *("\\boxed{\\text{not } 5}", "\\boxed{5\\text{ squared}}", "\\boxed{5^\\text{th}}"),
    *("\\boxed{loss of 5}", "\\boxed{5 below}", "\\boxed{5 months ago}", "\\boxed{5 January}"),
    *("\\boxed{5 PM}", "\\boxed{5 remainder 2}", "\\boxed{7 = 5}", "$x = -\\boxed{5}$"),
    *("$\\boxed{5}\\pi$", "\\boxed{5}/6", "x = not 5"),
]


@pytest.mark.parametrize("question", ["What is it?", APPLES, MORE])
@pytest.mark.parametrize("answer", CHANGED)
def test_a_number_that_words_change_is_never_right(
    comparer: Comparer, question: str, answer: str
) -> None:
    assert judge(question, answer, "5", comparer).correct is None


@pytest.mark.parametrize(
    ("question", "answer", "gold", "correct"),
    [
        (APPLES, "The answer is half of 10", "10", None),
        (APPLES, "So, he has 5 apples.", "5", True),
        (APPLES, "So, he has 6 apples.", "5", False),
        (APPLES, "So, he has 6 squared apples.", "5", None),
        (APPLES, "So, Tom has 20 / 4 = 5 apples.", "5", True),
        (APPLES, "So, Tom has 20 / 5 = 5 apples.", "5", None),
        (APPLES, "If Ann has 10, then Tom has 10 * 2 = 20 apples.", "20", True),
        (APPLES, "If Tom has 5 apples", "5", None),
        (MORE, "So, Tom has 5 more apples than Ann.", "5", True),
        (MORE, "So, Tom has more than 5 apples.", "5", None),
        ("How many are left?", "So, 5 more are left than 3 days ago.", "5", None),
        ("How many will not be used?", "So, 5 will not be used.", "5", True),
        ("How many will be used?", "So, 5 will not be used.", "5", None),
        ("How many?", "Therefore, each of the three friends got 5.", "5", None),
        ("How many got the friends?", "Therefore, each of the three friends got 5.", "5", True),
        ("How many eggs?", "\\boxed{5 \\text{ eggs}}", "5", True),
        ("How many?", "\\boxed{5 \\text{ eggs}}", "5", None),
        ("How many?", "\\boxed{5 \\text{ eggs}}", "5 eggs", True),
        ("How many?", "\\boxed{5}", "5 \\text{ squared}", None),
        ("How many?", "\\boxed{5}", "\\text{at least } 5", None),
        ("What is the change?", "So, it decreased by 5.", "-5", None),
        # units
        ("How long is it?", "So, it takes 2 hours.", "120 minutes", None),
        ("How long is it?", "The answer is 5 m long", "5 cm", None),
        ("How long is it?", "So, it is 5 cm.", "5 cm", True),
        ("What is it?", "So it costs $5.", "€5", None),
        ("What is it?", "So it costs $5.", "$5", True),
        ("What is it?", "So it costs 5 dollars.", "\\$5", True),
        # headings
        (
            "How many has Tom?",
            "Answer: Ann has 30. She gave away 9.\n\nSo Tom has **84**.",
            "84",
            True,
        ),
        ("How many has Tom?", "Answer: Ann has 30. So Tom has **84**.", "84", True),
        ("How many has Tom?", "Answer: Tom has **84**. Ann has 30.", "84", None),
        ("How many?", "Answer: Mr. Smith has 84.", "84", None),
        ("How many has Mr. Smith?", "Answer: Mr. Smith has 84.", "84", True),
        # percentages
        (PERCENT, "\\boxed{70\\%}", "70", True),
        (PERCENT, "\\boxed{0.7\\%}", "0.7", None),
        (PERCENT, "\\boxed{0.7}", "70", None),
        (PERCENT, "\\boxed{60\\%}", "70", False),
        ("What is it?", "\\boxed{70\\%}", "70", None),
        ("What is it?", "\\boxed{70}", "70\\%", True),
        ("What is it?", "\\boxed{0.7}", "70\\%", True),
        ("What is it?", "\\boxed{0.5\\%}", "0.5", None),
        ("What is it?", "\\boxed{1%}", "1", None),
        ("What is it?", "\\boxed{5}\\%", "0.05", True),
    ],
)
def test_the_question_tells_which_words_are_plain(
    comparer: Comparer, question: str, answer: str, gold: str, correct: bool | None
) -> None:
    assert judge(question, answer, gold, comparer).correct is correct


@pytest.mark.parametrize(
    ("before", "behind", "plain"),
    [
        ("", "", True),
        ("So she paid a total of $", " for it", True),
        ("She grudged", " apples", False),
        ("Half of the", " apples", False),
        ("Half of the sum is 20 * 0.5 =", " apples", True),
        ("Half of the sum =", "", False),
        ("", " apples on some faraway island of a continent", True),
        ("", " apples, perhaps", False),
    ],
)
def test_is_plain(before: str, behind: str, plain: bool) -> None:
    assert is_plain(before, behind, Asked("How many apples?")) is plain


def test_changing() -> None:
    assert changing("at least 5 or 6 \\text{ squared} apples") == {"least", "squared"}
