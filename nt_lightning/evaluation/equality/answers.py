r"""Which rule decides for which reference answer, and what each rule says.

In this order (our choice): a reference that is one of the options which the question shows, by its
letter; a plain number, with or without a unit, by its value; mathematics, by math-verify; a short
text, by equality after normalisation; a longer text, by nothing.

A verdict has to be certain, in both directions. What math-verify would take for mathematics though
it is none is kept from it (``texts.is_mathematical``), and where two answers differ in a way that
may not matter (a rounding, a unit, the name of a variable) nothing is said. Two texts that differ
may say the same, so a text is never wrong, but for yes and no.
"""

from __future__ import annotations

import re

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.comparison import compare
from nt_lightning.evaluation.equality.doubts import other_readings
from nt_lightning.evaluation.equality.mathematics import holds, judge_based, judge_mathematics
from nt_lightning.evaluation.equality.notation import without_label
from nt_lightning.evaluation.equality.quantities import Quantity, read_quantity
from nt_lightning.evaluation.equality.sentences import is_conclusion, judge_sentence, result_of
from nt_lightning.evaluation.equality.shown import letter_of_text, option_letter, options_of
from nt_lightning.evaluation.equality.texts import (
    has_number_word,
    in_text,
    is_mathematical,
    is_numeric,
    same_text,
    unwrapped,
    words,
    yes_or_no,
)
from nt_lightning.evaluation.equality.verdict import (
    EXACT,
    LETTER,
    NUMBER,
    Announced,
    Verdict,
    undecided,
)
from nt_lightning.evaluation.equality.wording import Asked, changing, is_plain
from nt_lightning.evaluation.grading import plain_latex

LONGEST_TEXT = 8  # words of a reference that a text may equal (our choice)

_LETTER = re.compile(r"\((?P<letter>[A-J])\)")
_ANY_LETTER = re.compile(r"\(?(?P<letter>[A-Ja-j])[).:]*")


def judge_answer(gold: str, final: Announced, comparer: Comparer, question: str = "") -> Verdict:
    """Whether an answer is the reference.

    Args:
        gold: The reference.
        final: The answer, without what leads to it.
        comparer: math-verify.
        question: It may show options, and its words may stand beside a number.
    """
    options = options_of(question)
    if letter := option_letter(gold, options):
        return _option(letter, options, final, comparer, question)
    if chosen := option_letter(final.text, options):
        final = final._replace(text=options[chosen])  # the reference is an option's text
    final = final._replace(text=without_label(final.text))
    return _against(without_label(gold), final, comparer, question)


def _option(
    letter: str, options: dict[str, str], final: Announced, comparer: Comparer, question: str
) -> Verdict:
    """By the letter, or by the text of the option where that is what is given."""
    found = letter_of_text(final.text, options) or _letter_in(final.text)
    if found in options:
        return Verdict(found == letter, LETTER)
    if not final.is_sure or not options[letter]:
        return undecided("no answer")
    verdict = _against(options[letter], final, comparer, question)
    if verdict.correct is None and is_numeric(final.text) and not has_number_word(options[letter]):
        quantity = read_quantity(final.text)  # 3 may be the third option
        if quantity is None or quantity.value not in range(1, len(options) + 1):
            return Verdict(False, LETTER)
    return verdict


def _letter_in(answer: str) -> str | None:
    found = _ANY_LETTER.fullmatch(unwrapped(answer).strip(" *"))
    return found["letter"].upper() if found else None


def _against(gold: str, final: Announced, comparer: Comparer, question: str) -> Verdict:
    quantity = read_quantity(gold)
    if based := judge_based(gold, final.text):
        verdict = based
    elif quantity is not None:
        verdict = _number(gold, quantity, final, comparer, question)
    elif plain_latex(gold) == plain_latex(final.text):
        verdict = Verdict(True, EXACT)
    elif is_mathematical(gold):
        verdict = judge_mathematics(gold, final, comparer, Asked(question, gold))
    elif letter := _LETTER.fullmatch(unwrapped(gold)):
        found = _letter_in(final.text)  # of options that are not shown
        verdict = Verdict(found == letter["letter"], LETTER) if found else undecided("free text")
    else:
        verdict = _text(gold, final)
    unsure = not final.is_sure and verdict.correct is False and not is_conclusion(final.text)
    return undecided("no answer") if unsure else verdict


def _number(
    gold: str, reference: Quantity, final: Announced, comparer: Comparer, question: str
) -> Verdict:
    """By the value, of a number or of an expression; by words where no number is said."""
    said = Asked(question, gold)
    if (found := _quantity(final.text, said, comparer)) is not None:
        if isinstance(found, Verdict):
            return found
        if reference.variable and found.variable not in ("", reference.variable):
            return undecided("notation")
        if changing(reference.behind) - changing(found.behind):
            return undecided("wording")
        if reference.value != found.value and reference.value in other_readings(final.text):
            return undecided("notation")
        return compare(reference, found, said)
    if is_mathematical(final.text):
        return judge_mathematics(gold, final, comparer, said, reference)
    if has_number_word(final.text):
        return judge_sentence(reference, final, question, said, comparer)
    is_claim = final.is_announced and len(final.text.split()) <= LONGEST_TEXT
    return Verdict(False, NUMBER) if is_claim else undecided("no answer")


def _quantity(text: str, said: Asked, comparer: Comparer) -> Quantity | Verdict | None:
    """The quantity that a text is, or to which its calculation comes, if that is sure."""
    front, result = "", read_quantity(text)
    if result is None:
        front, behind = result_of(text)
        result = read_quantity(behind)
        if result is None:
            return None
        if not holds(front, result, comparer):
            return undecided("notation")
    return result if is_plain(front, result.behind, said) else undecided("wording")


def _text(gold: str, final: Announced) -> Verdict:
    """Equal texts are right; others say nothing, but for yes and no and a number for a name."""
    same = same_text(gold, final.text)
    if same is not False:
        return Verdict(True, EXACT) if same else undecided("notation")
    if len(gold.split()) > LONGEST_TEXT:
        return undecided("free text")
    sides = yes_or_no(gold), yes_or_no(final.text)
    if None not in sides and len(gold.split()) == 1:
        return Verdict(sides[0] == sides[1], EXACT)
    is_name = in_text(gold) == [unwrapped(gold)] and not has_number_word(gold)
    if is_name and sides[0] is None and final.is_sure and is_numeric(final.text):
        return Verdict(False, EXACT)
    return undecided("free text" if final.is_sure or words(final.text) else "no answer")
