r"""What a trace's answer and its reference are, before the two are compared.

A reference that is one of the options which the question shows counts by its letter; any other as
``evaluation.equality.answers`` says. A gold solution counts by what stands behind its last
``####``, in its last ``\boxed{}`` or behind ``the answer is``.
"""

from __future__ import annotations

import re

from nt_lightning.evaluation.anchors import find_anchors, trim
from nt_lightning.evaluation.equality.answers import judge_answer
from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.shown import option_letter, options_of
from nt_lightning.evaluation.equality.verdict import LETTER, Verdict, undecided
from nt_lightning.evaluation.extraction import extract
from nt_lightning.evaluation.letters import SEVERAL
from nt_lightning.pool.verification.announced import announced

_CALCULATOR = re.compile(r"<<[^<>]*>>")  # 2+2=<<2+2=4>>4, as GSM8K writes


def judge(question: str, answer: str, reference: str | None, comparer: Comparer) -> Verdict:
    """Whether a trace's answer is right.

    Args:
        question: The question, which may show options.
        answer: The trace's visible text.
        reference: The gold answer, or the gold solution.
        comparer: math-verify.
    """
    gold = gold_answer(reference or "")
    if not gold:
        return undecided("no reference")
    options = options_of(question)
    if letter := option_letter(gold, options):
        found = extract(answer, "letter", options=list(options))
        if found.answer is not None and not str(found.rule).endswith(SEVERAL):
            return Verdict(found.answer.upper() == letter, LETTER)
    final = announced(answer)
    if final is None:
        return undecided("no answer")
    final = final._replace(text=_CALCULATOR.sub("", final.text))
    return judge_answer(gold, final, comparer, question)


def gold_answer(reference: str) -> str:
    """The answer in a gold solution: behind ``####`` as in GSM8K, in its last box, announced."""
    if "####" in reference:
        reference = reference.rpartition("####")[2]
    elif anchors := find_anchors(reference, 0):
        boxes = [anchor for anchor in anchors if anchor.rule == "boxed"]
        reference = reference[slice(*(boxes or anchors)[-1][1:])]
    return reference[slice(*trim(reference, 0, len(reference)))]
