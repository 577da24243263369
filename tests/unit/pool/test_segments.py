"""What an annotator sees of a trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.pool.segments import HEAD, Segment, cut, fit, harmless, segments_of
from nt_lightning.requests.token_bound import tokens_of


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


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("abcde", 2),
        ("abcdef abc d", 4),
        ("a b", 2),
        ("123", 3),
        ("a 12", 1 + 3),  # the blank in front of a digit is one
        ("    a", 4),
        (r"\frac{1}{2}", 1 + 2 + 6),
        ("x=1", 3),
        ("a\nb", 3),
        ("积分", 6),  # by bytes
        ("é", 2),
    ],
)
def test_tokens_by_hand(text, tokens):
    assert tokens_of(text) == tokens


SMOLLM2 = {  # tokens by the tokenizer of SmolLM2, which has learned English and code
    "Let us consider the first term of the series and compare it with the second one.": 17,
    "482913 77 1024 999999 31415 8": 29,
    r"\frac{12}{345} + x_{6}^{78} \leq \int_{\alpha}^{\beta} \| \nabla f \|_{L^p} \, dx": 47,
    "我们需要计算这个积分的值，首先考虑函数在区间上的连续性。": 46,
    "우리는 이 적분의 값을 계산해야 합니다": 43,
    "Рассмотрим первый член ряда и сравним его со вторым.": 41,
    "∀x∈ℝ: ∑ᵢ aᵢ ≤ ∫₀¹ √x dx ⇒ α²+β²": 35,
    "😀🎉👍🏽": 12,
    "x=1\ny=2\nSo\nok\n": 12,
    "for i in range(n):\n    if a[i] != b[i]:\n        return False\n": 22,
    "[19999] x=1\n": 11,
}


@pytest.mark.parametrize("text", SMOLLM2)
def test_texts_of_all_kinds_have_fewer_tokens(text):
    assert tokens_of(text) >= SMOLLM2[text]


@given(st.text(max_size=80), st.text(max_size=20))
def test_no_more_tokens_than_bytes_and_more_with_more_text(text, further):
    assert tokens_of(text) <= len(text.encode(errors="replace"))
    assert tokens_of(text) <= tokens_of(text + further) + 1


def test_a_long_trace_is_shown_from_both_ends():
    # 4 tokens each, 4 for its frame, one for each digit of its number
    segments = [Segment(n + 1, "abcdefghijkl", 11 * n) for n in range(20)]
    cost = 9 * (4 + 4 + 1) + 11 * (4 + 4 + 2)
    assert fit(segments, cost) == segments
    shown = fit(segments, 122)  # 90 without the remark
    assert [one.number for one in shown] == [1, 2, 3, 4, 5, 6, 0, 18, 19, 20]
    assert shown[6].text == "(segments 7 to 17 are left out)"


def test_a_segment_that_does_not_fit_is_cut_in_its_middle():
    (shown,) = fit([Segment(1, "a" * 500 + "z" * 500, 0)], 132)
    head, tail = shown.text.split(" (...) ")
    assert (set(head), set(tail)) == ({"a"}, {"z"})
    assert 20 <= tokens_of(shown.text) <= 100 * HEAD / 2 - 5


@given(st.text(alphabet="ab 1积", max_size=200), st.integers(0, 60))
def test_what_is_cut_is_a_beginning_and_an_end(text, most):
    found = cut(text, most)
    if found == text:
        return
    assert tokens_of(text) > most
    head, _, tail = found.partition(" (...) ")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert tokens_of(found) <= max(most, tokens_of(" (...) ")) + 3


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(100, 300))
def test_what_is_shown_fits_and_keeps_its_order(lengths, room):
    segments = [Segment(n + 1, "7" * length, n) for n, length in enumerate(lengths)]
    shown = fit(segments, room)
    numbers = [one.number for one in shown if one.number]
    assert numbers == sorted(set(numbers))
    lines = "".join(f"[{one.number}] {one.text}\n" for one in shown)
    assert tokens_of(lines) <= room
    if sum(lengths) + 6 * len(lengths) <= room:
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
