"""Which rule decides, and what is left undecided."""

from __future__ import annotations

import pytest

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.shown import option_letter, options_of
from nt_lightning.evaluation.equality.verdict import REASONS
from nt_lightning.pool.verification.announced import announced
from nt_lightning.pool.verification.rules import gold_answer, judge

ASKED = "What is it, and how many lessons does she make every day?"
PLANETS = "Which is red?\n(A) Venus\n(B) Mars\n(C) Earth"
COSTS = "How much is it?\nA. 10\nB. 12.5\nC. $\\frac{1}{3}$"


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    return Comparer()


@pytest.mark.parametrize(
    ("reference", "answer", "correct", "by"),
    [
        # numbers
        ("540", "So it is \\boxed{540}.", True, "number"),
        ("540", "So it is \\boxed{541}.", False, "number"),
        ("Steps.\n#### 1,540", "The answer is 1540.", True, "number"),
        ("5", "\\boxed{x = 5}", True, "number"),
        ("x = 5", "\\boxed{5}", True, "number"),
        ("x = 5", "\\boxed{y = 5}", None, "notation"),
        ("5", "\\boxed{2 + 3 = 5}", True, "number"),
        ("0", "\\boxed{5x - 7y + 4 = 0}", None, "notation"),
        ("12", "Therefore, 3x + 2 = 12.", None, "unparsed"),
        ("9", "\\boxed{f(3) = 9}", True, "number"),
        ("24", "So he does 8 lessons x 3 times = 24 in a day.", True, "number"),
        ("1024", "\\boxed{2^{10}}", True, "math-verify"),
        ("1/3", "\\boxed{0.333}", None, "rounding"),
        ("3.14", "\\boxed{3.1416}", None, "rounding"),
        ("100", "The answer is approximately 98.", None, "rounding"),
        ("100", "The answer is approximately 50.", False, "number"),
        ("45%", "\\boxed{0.45}", True, "number"),
        ("0.45", "\\boxed{54\\%}", False, "number"),
        ("3", "\\boxed{1 2}", None, "unparsed"),
        ("12", "\\boxed{1 2}", None, "unparsed"),
        ("5", "\\boxed{5 \\text{ or } 6}", False, "math-verify"),
        ("5", "The answer is $5$ or $6$.", None, "unparsed"),
        ("2", "\\boxed{1} and \\boxed{2}", None, "no answer"),
        ("18", "Therefore, she makes $18 every day.", True, "number"),
        ("18", "Therefore, she makes $17 every day.", False, "number"),
        ("18", "She has $17 and 3 children.", None, "unparsed"),
        ("18", "Thus, 9 * 2 = $18 a day.", True, "number"),
        ("18", "I begin with 17 apples.\nThen I think about it.", None, "no answer"),
        ("18", "\\boxed{eighteen}", None, "unparsed"),
        ("18", "\\boxed{\\text{cannot be determined}}", False, "number"),
        ("18", "Let me see", None, "no answer"),
        # units
        ("5 cm", "\\boxed{5}", True, "number"),
        ("5", "\\boxed{5 \\text{ cm}}", True, "number"),
        ("5 cm", "\\boxed{5\\,\\mathrm{m}}", None, "unit"),
        ("5 m", "\\boxed{500 \\text{ cm}}", None, "unit"),
        ("90", "The answer is 1.5 hours.", None, "unit"),
        ("90 minutes", "The answer is 80 minutes.", False, "number"),
        ("90^\\circ", "\\boxed{\\frac{\\pi}{2}}", None, "unit"),
        ("90^\\circ", "\\boxed{\\frac{\\pi}{3}}", False, "math-verify"),
        ("90^\\circ", "\\boxed{80}", False, "number"),
        ("25 °C", "\\boxed{77}", None, "unit"),
        ("\\$32,\\!348", "\\boxed{32348}", True, "number"),
        ("90 minutes", "\\boxed{9 \\cdot 10}", True, "math-verify"),
        ("90.5 minutes", "\\boxed{81 + 9.51}", None, "rounding"),
        ("45%", "\\boxed{0.5 - 0.05}", None, "unit"),
        ("3 million", "\\boxed{3{,}000{,}000}", True, "number"),
        ("\\frac{270}7\\text{ degrees}", "\\boxed{\\frac{270}{7}}", True, "number"),
        ("\\sqrt{3}\\text{ m}", "\\boxed{\\sqrt{3}\\text{ cm}}", None, "unit"),
        # mathematics
        ("\\frac{1}{2}x + 1", "\\boxed{x/2 + 1}", True, "math-verify"),
        ("x^2 + 2x + 1", "The answer is $(x+1)^2$.", True, "math-verify"),
        ("2x", "\\boxed{y = 2x}", True, "math-verify"),
        ("2x", "\\boxed{f(x) = x + x}", True, "math-verify"),
        ("2x", "\\boxed{y + 3 = 2x}", None, "notation"),
        ("\\sqrt{2}", "\\boxed{2x = \\sqrt{2}}", None, "notation"),
        ("y = 2x", "\\boxed{2x - y = 0}", True, "math-verify"),
        ("x^2", "\\boxed{x^3}", False, "math-verify"),
        ("x**2 + sqrt(2)", "\\boxed{x^2+\\sqrt{2}}", True, "math-verify"),
        ("\\{1, 2\\}", "\\boxed{1} and \\boxed{2}", True, "math-verify"),
        ("1, 2", "\\boxed{2}\n\nand also \\boxed{1}", None, "no answer"),
        ("(-2,1)", "\\boxed{-2,1}", None, "notation"),
        ("-2,1", "\\boxed{\\left( -2, 1 \\right)}", None, "notation"),
        ("-2,1", "\\boxed{1,-2}", True, "math-verify"),
        ("2k", "\\boxed{2n}", None, "notation"),
        ("6 - 5i", "\\boxed{2x}", False, "math-verify"),
        ("R - r", "\\boxed{0}", None, "notation"),
        ("3R^2", "\\boxed{3r^2}", None, "notation"),
        ("\\ln x", "\\boxed{\\log x}", None, "notation"),
        ("\\sqrt{2}", "\\boxed{1.414}", None, "rounding"),
        ("\\sqrt{2}", "\\boxed{1.5}", False, "math-verify"),
        ("\\sqrt{2} x", "\\boxed{\\foo{bar}", None, "unparsed"),
        ("\\sqrt{2} x", "\\boxed{\\begin{cases} x & y \\\\ 1 \\end{cases}}", None, "unparsed"),
        ("4210_5", "\\boxed{4210_{5}}", True, "number"),
        ("4210_5", "\\boxed{4210_7}", False, "number"),
        ("4210_5", "\\boxed{4210}", None, "notation"),
        ("4210_5", "\\boxed{555}", None, "notation"),
        ("12:30", "\\boxed{2:5}", None, "free text"),
        (
            "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
            "\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}}",
        )
        + (True, "math-verify"),
        ("(1, 2]", "\\boxed{(1,2)}", False, "math-verify"),
        # texts
        ("Mars", "The answer is **mars**.", True, "exact"),
        ("the blue whale", "Blue whale.", True, "exact"),
        ("Mars", "The answer is the red planet.", None, "free text"),
        ("dana", "\\boxed{nada}", None, "free text"),
        ("H_2O", "\\boxed{\\text{H2O}}", True, "exact"),
        ("H_2O", "\\boxed{2HO}", None, "free text"),
        ("CO", "\\boxed{\\text{Co}}", None, "free text"),
        ("Aa", "\\boxed{\\text{AA}}", None, "notation"),
        ("Aa", "\\boxed{\\text{Aa}}", True, "exact"),
        ("?", "\\boxed{!}", None, "free text"),
        ("a well-known man", "A well known man.", True, "exact"),
        ("Yes", "\\boxed{\\text{No}}", False, "exact"),
        ("Yes", "The answer is yes, since it is so.", True, "exact"),
        ("No", "The answer is no one knows.", None, "free text"),
        ("No", "The answer is true north.", None, "free text"),
        ("True", "The answer is yes.", True, "exact"),
        ("\\text{Evelyn}", "\\boxed{\\text{Evelyn}}", True, "exact"),
        ("\\text{Evelyn}", "\\boxed{\\text{Briana}}", None, "free text"),
        ("\\text{Evelyn}", "\\boxed{5}", False, "exact"),
        ("Mercury", "\\boxed{1}", None, "free text"),
        ("It depends on the mass and on the speed of light in vacuum.", "\\boxed{mc^2}")
        + (None, "free text"),
        ("B", "The answer is B.", True, "exact"),
        ("B", "The answer is C.", None, "free text"),
        (None, "\\boxed{5}", None, "no reference"),
        ("  ", "\\boxed{5}", None, "no reference"),
        ("5", "<think>so", None, "no answer"),
        ("The total is \\boxed{12}.", "<answer>12</answer>", True, "number"),
    ],
)
def test_verdicts(
    comparer: Comparer, reference: str | None, answer: str, correct: bool | None, by: str
) -> None:
    verdict = judge(ASKED, answer, reference, comparer)
    assert verdict == (correct, by)
    assert (verdict.correct is None) == (verdict.by in REASONS)


@pytest.mark.parametrize(
    ("question", "reference", "answer", "correct", "by"),
    [
        (PLANETS, "B", "The answer is (B).", True, "letter"),
        (PLANETS, "B", "The answer is (B) and (C).", None, "free text"),
        (PLANETS, "\\text{(B)}", "\\boxed{C}", False, "letter"),
        (PLANETS, "(B) Mars", "\\boxed{\\text{Mars}}", True, "letter"),
        (PLANETS, "B", "\\boxed{\\text{Venus}}", False, "letter"),
        (PLANETS, "B", "It is A and B.", None, "free text"),
        (PLANETS, "B", "\\boxed{2}", None, "free text"),  # the second option
        (PLANETS, "B", "\\boxed{7.5}", False, "letter"),
        (PLANETS, "B", "\\boxed{\\text{the red one}}", None, "free text"),
        (PLANETS, "Mars", "The answer is B.", True, "exact"),
        (COSTS, "12.5", "The answer is B.", True, "number"),
        (COSTS, "12.5", "The answer is A.", False, "number"),
        (COSTS, "B", "\\boxed{\\frac{25}{2}}", True, "number"),
        (COSTS, "B", "\\boxed{13}", False, "number"),
    ],
)
def test_options(
    comparer: Comparer, question: str, reference: str, answer: str, correct: bool | None, by: str
) -> None:
    assert judge(question, answer, reference, comparer) == (correct, by)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (PLANETS, {"A": "Venus", "B": "Mars", "C": "Earth"}),
        ("x\nA) 1\nB) 2", {"A": "1", "B": "2"}),
        ("x $\\textbf{(A)}\\ 3\\qquad\\textbf{(B)}\\ 4$", {"A": "3", "B": "4"}),
        ("A. (A) x (B) y\nB. z\nC. w", {"A": "(A) x (B) y", "B": "z", "C": "w"}),
        ("Plan A. is good", {}),
        ("A man and B. Johnson", {}),
        ('[asy]\nlabel("A.", A);\nlabel("B.", B);\n[/asy] Find AB.', {}),
    ],
)
def test_options_of(question: str, options: dict[str, str]) -> None:
    assert options_of(question) == options


def test_option_letter_needs_the_options() -> None:
    assert option_letter("B", options_of(PLANETS)) == "B"
    assert option_letter("D", options_of(PLANETS)) is None
    assert option_letter("B. Saturn", options_of(PLANETS)) is None


@pytest.mark.parametrize(
    ("answer", "text", "is_sure"),
    [
        ("\\boxed{1}\nThe answer is 2.", "1", True),
        ("either \\boxed{1} or \\boxed{2}", "1, 2", False),
        ("\\boxed{1}, that is \\boxed{1}", "1", True),
        ("The answer is $x+1$ as shown.", "x+1", True),
        ("The answer is 5 of 10 apples.", "5 of 10 apples", True),
        ("Words.\n\n**18**", "18", False),
        ("**18**", "18", True),
        ("no <answer>3</answer>", "3", True),
    ],
)
def test_announced(answer: str, text: str, is_sure: bool) -> None:
    found = announced(answer)
    assert found is not None
    assert (found.text, found.is_sure) == (text, is_sure)


def test_gold_answer() -> None:
    assert gold_answer("2+2=<<2+2=4>>4\n#### 4") == "4"
    assert gold_answer("We see $\\boxed{3}$ and $\\boxed{4}$.") == "4"
    assert gold_answer(" **Paris**. ") == "Paris"
    assert gold_answer("It follows that the answer is 12.") == "12"
