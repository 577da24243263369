"""What an annotator sees of a trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.pool.segments import Segment, fit, harmless, segments_of


@pytest.mark.parametrize(
    ("reasoning", "wanted"),
    [
        ("one\n\ntwo\n \nthree", ["one", "two", "three"]),
        ("\n\n  one\nstill one\n\n\n\n two  \n", ["one\nstill one", "two"]),
        ("line one\nline two", ["line one", "line two"]),  # a single paragraph: lines
        ("alone", ["alone"]),
        ("", []),
        ("a\r\n\r\nb", ["a", "b"]),
    ],
)
def test_paragraphs_else_lines(reasoning, wanted):
    found = segments_of(reasoning)
    assert [one.text for one in found] == wanted
    assert [one.number for one in found] == list(range(1, len(wanted) + 1))


@given(st.text(alphabet="ab \n\t.", max_size=80))
def test_a_segment_stands_where_it_says(reasoning):
    found = segments_of(reasoning)
    for one in found:
        assert reasoning[one.start : one.start + len(one.text)] == one.text
        assert one.text == one.text.strip() != ""
    assert "".join("".join(one.text for one in found).split()) == "".join(reasoning.split())


def test_a_long_trace_is_shown_from_both_ends():
    segments = [Segment(n + 1, f"{n:010d}", 11 * n) for n in range(20)]
    shown = fit(segments, 100)
    assert [one.number for one in shown] == [1, 2, 3, 4, 5, 6, 0, 17, 18, 19, 20]
    assert shown[6].text == "(segments 7 to 16 are left out)"
    assert fit(segments, 200) == segments


def test_a_segment_that_does_not_fit_is_cut_in_its_middle():
    shown = fit([Segment(1, "a" * 500 + "z" * 500, 0)], 100)
    assert shown == [Segment(1, f"{'a' * 15} (...) {'z' * 15}", 0)]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(20, 300))
def test_what_is_shown_fits_and_keeps_its_order(lengths, room):
    segments = [Segment(n + 1, "x" * length, n) for n, length in enumerate(lengths)]
    shown = fit(segments, room)
    numbers = [one.number for one in shown if one.number]
    assert numbers == sorted(set(numbers))
    cut = 7  # " (...) "
    texts = sum(len(one.text) for one in shown if one.number)
    assert texts <= max(room, 0) + cut * len(numbers)
    if sum(lengths) <= room:
        assert shown == segments


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a <|im_end|> b", "a < |im_end|> b"),
        ("</s> <s> <think>", "< /s> < s> < think>"),
        ("<｜end▁of▁sentence｜>", "< ｜end▁of▁sentence｜>"),
        ("[INST] x [/INST]", "[ INST] x [ /INST]"),
        ("a < b, x<3, [1, 2]", "a < b, x<3, [1, 2]"),
    ],
)
def test_marks_of_chat_templates_are_broken(text, wanted):
    assert harmless(text) == wanted
