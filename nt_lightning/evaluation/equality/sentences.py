"""Numbers inside sentences: which of them is the answer, and whether the words leave it so."""

from __future__ import annotations

import re

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.comparison import compare
from nt_lightning.evaluation.equality.mathematics import holds
from nt_lightning.evaluation.equality.quantities import (
    Placed,
    Quantity,
    currency,
    numbers_in,
    read_unit,
    says_roughly,
)
from nt_lightning.evaluation.equality.verdict import Announced, Verdict, undecided
from nt_lightning.evaluation.equality.wording import UNITS, Asked, is_plain

_CONCLUSION = re.compile(
    r"\W*(?:therefore|thus|so|hence|in total|in conclusion|altogether|overall|finally)\b", re.I
)
# The name in front of a calculation, as in "x = 2 + 3 = 5" and "f(3) = 9", is no part of it.
_NAME = re.compile(r"^\W*[A-Za-z](?:_\{?\w+\}?)?(?:\([^()=]*\))?\s*(?:=|$)|\\[A-Za-z]+")
_VARIABLE = re.compile(r"(?<![A-Za-z'’])[b-zB-HJ-Z](?![A-Za-z])")
# 5+ and 5 \pi are not 5, nor is \sqrt{5}.
_GOES_ON = re.compile(
    r"\s*[+*/^×÷!<>≤≥≠]|\.\.|…|\s*[-−–]+\s*\d|\s*\\(?!q?quad|text|mathrm|mbox)[A-Za-z]"
)
_BEGINS = re.compile(r"(?:[+*/^×÷<>≤≥≠]|\\(?!q?quad|text|approx|sim)[A-Za-z]+\s*\{?)\s*$")
_NOUN = re.compile(r"[\s*}\\]*(?P<noun>[^\W\d_]+)")


def judge_sentence(
    reference: Quantity, final: Announced, question: str, said: Asked, comparer: Comparer
) -> Verdict:
    """By the number behind ``=``, the one number, or the one that the question does not have.

    A sentence that is not announced has to begin like a conclusion before it is wrong.
    """
    text = final.text.replace("**", "")  # bold
    found = {one.quantity.value: one for one in numbers_in(text)}
    given = {one.quantity.value for one in numbers_in(question)}
    new = [one for value, one in found.items() if len(found) == 1 or value not in given]
    if "=" in text:
        result = result_of(text)
        new = [one._replace(before=result[0] + one.before) for one in numbers_in(result[1])[:1]]
    if len(new) != 1:
        return undecided("unparsed" if final.is_sure else "no answer")
    number = new[0]
    if "=" in text and not holds(number.before, number.quantity, comparer):
        return undecided("notation")
    is_part = _GOES_ON.match(number.behind) or _BEGINS.search(number.before)
    if is_part or not is_plain(number.before, number.behind, said):
        return undecided("wording")
    value = number.quantity._replace(
        unit=_unit(number, reference, text), is_rough=says_roughly(text)
    )
    verdict = compare(reference, value, said)
    if verdict.correct is not False:
        return verdict
    if value.value == -reference.value:  # a decrease of 5
        return undecided("wording")
    is_told = final.is_sure or is_conclusion(text)
    return verdict if is_told and reference.value not in found else undecided("no answer")


def is_conclusion(text: str) -> bool:
    """Whether a sentence begins with therefore, so or the like."""
    return _CONCLUSION.match(text) is not None


def result_of(text: str) -> tuple[str, str]:
    """A calculation up to its last ``=``, and what stands behind that.

    Nothing stands behind that of an equation with variables.
    """
    front, sign, result = text.rpartition("=")
    calculation = _NAME.sub("", re.sub(r"(?<=\s)x(?=\s)", "*", front))  # 8 lessons x 3 times
    return front + sign, "" if _VARIABLE.search(calculation) else result


def _unit(number: Placed, reference: Quantity, text: str) -> str:
    """The unit behind a number, if its word is one; else it is of something."""
    noun = _NOUN.match(number.behind)
    if noun and noun["noun"].lower() in UNITS:
        return read_unit(" " + noun["noun"]) or "of something"
    if reference.unit and reference.unit == (money := currency(text)):
        return money
    if reference.unit and not noun:
        return currency(text)
    if reference.unit and read_unit(f" {noun['noun']}" if noun else "") == reference.unit:
        return reference.unit
    return "of something"
