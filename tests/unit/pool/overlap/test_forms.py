"""Forms in which questions are looked for, by hand."""

import numpy as np

from nt_lightning.pool.overlap.forms import forms_of, generic_questions

STEM = "Which of these is true?"


def test_questions_that_others_contain_are_generic():
    asked = [STEM, f"{STEM} a", f"b {STEM}", f"{STEM} c", "Which of these is best?", STEM]
    options = [f"{text} {number}" for number, text in enumerate(asked)]
    groups = np.zeros(len(asked), np.int64)
    assert generic_questions(asked, options, groups).tolist() == [1, 0, 0, 0, 0, 1]
    assert not generic_questions(asked, options, np.arange(len(asked))).any()
    same = [STEM] * 6
    assert not generic_questions(same, same, groups).any()  # one question, six times
    assert generic_questions(same, options, groups).all()


def test_what_says_little_is_looked_for_with_its_options():
    asked = ["Inflation", "Deflation", "?", "Name a prime.", "w " * 13]
    full = ["Inflation\nup\ndown", "Deflation", "?", "Name a prime.\nA) 4\nB) 5", "w " * 13 + "x"]
    options = [["up", "down"], [], [], ["4", "5"], ["x"]]
    forms = forms_of(asked, full, options, np.zeros(5, np.int64))
    assert forms.compared == {0: "with its options", 1: "whole", 2: "never"}
    assert forms.texts[:5] == asked
    assert forms.searched[:5].tolist() == [False, False, False, True, True]
    assert forms.searched[5:].all()
    assert set(forms.owners[5:].tolist()) == {0, 3}
    assert {"Inflation\n\nA up\nB down", "Inflation\nOptions:\n1 up\n2 down"} < set(forms.texts)
    assert forms.texts[-1] == full[3]  # a stem under 13 words may have been cut wrongly
