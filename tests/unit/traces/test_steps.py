"""Where steps begin, and which tokens belong to which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.errors import UserError
from nt_lightning.traces.steps import (
    ColumnSteps,
    FixedTokenSteps,
    NewlineSteps,
    SentenceSteps,
    StepHints,
    step_lengths,
)

PIECES = st.sampled_from(
    [
        "a",
        "Über",
        "数学。",
        "🙂",
        " ",
        "  ",
        "\n",
        "\n\n",
        ". ",
        "! ",
        "?",
        "3.14",
        "$x$",
        "$",
        "`a. b`",
    ]
    + [
        "```",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\begin{align}",
        "\\end{align}",
        "Mr. ",
        "1. ",
        "\u3000",
        "\r\n",
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


def cut(splitter, text, hints=StepHints()):
    return [text[start:end] for start, end in splitter.spans(text, hints)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        ("One", ["One"]),
        ("One is. Two is! Three is? Four", ["One is.", " Two is!", " Three is?", " Four"]),
        ("First line\nsecond\n\n\nthird", ["First line\n", "second\n\n\n", "third"]),
        ("First.\n \t\nthen", ["First.\n \t\n", "then"]),
        ("It is 3.14 or 1.5e3. Then more", ["It is 3.14 or 1.5e3.", " Then more"]),
        ("See v1.2.3 at a.b.com. Good", ["See v1.2.3 at a.b.com.", " Good"]),
        ("Mr. Smith left. He did", ["Mr. Smith left.", " He did"]),
        ("1. First step\n2. Second step", ["1. First step\n", "2. Second step"]),
        ("Really?! Yes, it is", ["Really?!", " Yes, it is"]),
        ("Wait... That is it", ["Wait...", " That is it"]),
        ("The end is near. So", ["The end is near. So"]),  # a last fragment joins the step before
        ("Ends with a blank. ", ["Ends with a blank. "]),
        (
            "Größe ist 数. Und 🙂🙂🙂🙂 lacht! Ja doch",
            ["Größe ist 数.", " Und 🙂🙂🙂🙂 lacht!", " Ja doch"],
        ),
        ("Use `a. b. c` here. Done now", ["Use `a. b. c` here.", " Done now"]),
        (
            "Code:\n```py\na = 1. \n\nb = 2\n```\nAfter it",
            ["Code:\n", "```py\na = 1. \n\nb = 2\n```\n", "After it"],
        ),
        ("```never closed. \nNot\n\nhere. No", ["```never closed. \nNot\n\nhere. No"]),
        ("That is fun~~~ then. And so on. ", ["That is fun~~~ then.", " And so on. "]),
        ("So ```a. \n\nNot code. ", ["So ```a. \n\n", "Not code. "]),
        ("```x. y``` is code. So it is.", ["```x. y``` is code.", " So it is."]),
        (
            "Code:\n   ~~~~\na. b\n~~~\nc. d\n ~~~~\nAfter it",
            ["Code:\n", "   ~~~~\na. b\n~~~\nc. d\n ~~~~\n", "After it"],
        ),
        ("    ```\nIndented. Not a fence", ["    ```\nIndented.", " Not a fence"]),
        ("```\na = '```'. b\n```\nAfter. It is", ["```\na = '```'. b\n```\n", "After.", " It is"]),
        ("Thus $x. y$ holds. Next one", ["Thus $x. y$ holds.", " Next one"]),
        ("It costs $5. He has $6 now", ["It costs $5.", " He has $6 now"]),
        (
            "Take \\(a. b\\) or\\[c. \n d\\] all. Next",
            ["Take \\(a. b\\) or\\[c. \n d\\] all.", " Next"],
        ),
        ("$$a. \n\n b$$ follows. Next", ["$$a. \n\n b$$ follows.", " Next"]),
        (
            "\\begin{align*}a. \nb\\end{align*} ends. Next",
            ["\\begin{align*}a. \nb\\end{align*} ends.", " Next"],
        ),
    ],
)
def test_sentences(text, steps):
    assert cut(SentenceSteps(), text) == steps


def test_an_abbreviation_inside_a_sentence_ends_a_step():
    """The rule of the method knows no words: what it costs is one step more."""
    assert cut(SentenceSteps(), "I saw Mr. Smith") == ["I saw Mr.", " Smith"]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        ("One. Two\nThree\n\nFour", ["One. Two\n", "Three\n\n", "Four"]),
        ("```\nfirst line\nlast line\n```", ["```\nfirst line\n", "last line\n```"]),
        ("a\nb\nwords", ["a\nb\nwords"]),
    ],
)
def test_newlines(text, steps):
    assert cut(NewlineSteps(), text) == steps


def test_fixed_tokens():
    hints = StepHints(token_starts=(0, 2, 4, 5, 7))
    assert cut(FixedTokenSteps(2), "abcdefgh", hints) == ["abcd", "efg", "h"]
    assert step_lengths(hints.token_starts, FixedTokenSteps(2).spans("abcdefgh", hints)) == [
        2,
        2,
        1,
    ]
    assert cut(FixedTokenSteps(9), "abcdefgh", hints) == ["abcdefgh"]
    assert cut(FixedTokenSteps(2), "", StepHints()) == []


def test_fixed_tokens_cut_no_character():
    """Three tokens of one emoji: a step that would begin within it begins with its first token."""
    hints = StepHints(token_starts=(0, 1, 1, 1, 2))
    spans = FixedTokenSteps(2).spans("a🙂b", hints)
    assert spans == [(0, 1), (1, 2), (2, 3)]
    assert step_lengths(hints.token_starts, spans) == [1, 3, 1]


@pytest.mark.parametrize("size", [0, -1])
def test_fixed_tokens_refuse_a_size(size):
    with pytest.raises(UserError, match=f"steps of {size} tokens; allowed: 1 and more"):
        FixedTokenSteps(size)


def test_column():
    text = "<think>\nabcdef\n</think>\n\nAnswer"
    found = cut(ColumnSteps(), text, StepHints(step_starts=[4, 0, 2], reasoning=(8, 14)))
    assert found == ["<think>\nab", "cd", "ef", "\n</think>\n\nAnswer"]


def test_column_without_reasoning_is_one_step():
    assert cut(ColumnSteps(), "Answer", StepHints(step_starts=[], reasoning=(0, 0))) == ["Answer"]
    assert cut(ColumnSteps(), "", StepHints(step_starts=[])) == []


def test_column_must_be_there():
    with pytest.raises(UserError, match="'step_starts' is null.*pool annotate"):
        ColumnSteps().spans("text", StepHints(reasoning=(0, 4)))


@pytest.mark.parametrize("starts", [[0, 7], [-1, 2]])
def test_column_must_be_inside_the_reasoning(starts):
    with pytest.raises(UserError, match="the reasoning has 6 characters"):
        ColumnSteps().spans("abcdef\n\nAnswer", StepHints(step_starts=starts, reasoning=(0, 6)))


def test_a_token_belongs_to_the_step_of_its_first_character():
    assert step_lengths((0, 3, 7, 9), [(0, 4), (4, 8), (8, 12)]) == [2, 1, 1]


def test_a_step_without_a_token_is_merged():
    """A token reaches over a whole step: nothing begins there."""
    assert step_lengths((0, 2, 9), [(0, 4), (4, 8), (8, 12)]) == [2, 1]
    assert step_lengths((), [(0, 4)]) == []
    assert step_lengths((), []) == []


@given(TEXTS, st.integers(1, 5), st.data())
def test_steps_cover_the_text_and_none_is_empty(text, size, data):
    starts = sorted(data.draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=30)))
    if text:
        starts = [0, *starts]
    column = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    hints = StepHints(starts if text else (), column, (0, len(text)))
    for splitter in (SentenceSteps(), NewlineSteps(), FixedTokenSteps(size), ColumnSteps()):
        spans = splitter.spans(text, hints)
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(start < end for start, end in spans)
        lengths = step_lengths(hints.token_starts, spans)
        assert sum(lengths) == len(hints.token_starts)
        assert all(length > 0 for length in lengths)


@pytest.mark.parametrize("piece", ["$", "$$", "\\[", "\\begin{a}", "`", ". ", "\n ", "\\("])
def test_nothing_is_quadratic(piece):
    """Openings that are never closed; a quadratic rule would run into the time limit."""
    text = piece * (200_000 // len(piece))
    assert sum(end - start for start, end in SentenceSteps().spans(text)) == len(text)


def test_fragments_join_the_next_step():
    text = "So. 1. 2. Then it goes"
    assert cut(SentenceSteps(), text) == ["So. 1.", " 2. Then it goes"]
