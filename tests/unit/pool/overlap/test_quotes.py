"""Quotes of questions: by hand, and against a definition that compares words one by one."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.pool.overlap import lookup
from nt_lightning.pool.overlap.quotes import QuoteFinder
from nt_lightning.pool.overlap.runs import RUN, SHARED_BY

LONG = (
    "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes "
    "muffins for her friends every day with four."
)
SHORT = "Evaluate $\\log_2 64$."


def finder(*questions, min_coverage=0.5, **options):
    return QuoteFinder(questions, np.zeros(len(questions), np.int64), min_coverage, **options)


def rules(texts, *questions, in_responses=False, **options):
    found = finder(*questions, **options)
    quotes = found.in_responses(texts) if in_responses else found.in_questions(texts)
    return [(quote.text, quote.question, quote.rule) for quote in quotes]


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG.upper(),
        re.sub(r"[^\w\s]", "", LONG),
        re.sub(r"[^\w\s’]", " ", LONG).replace(" ", "\n  "),
        LONG.replace("’", "'"),
    ],
)
def test_a_question_is_known_whatever_its_case_blanks_and_punctuation(text):
    assert rules([text], "Another question altogether?", LONG) == [(0, 1, "whole")]
    assert rules([f"Hint. {text} Why?"], LONG) == [(0, 0, "contained")]
    assert rules([f"Hmm, {text} So"], LONG, in_responses=True) == [(0, 0, "contained")]


def test_a_quote_says_where_it_stands():
    text = f"Old: {SHORT} Done"
    (quote,) = finder(SHORT).in_questions([text])
    assert text[quote.start : quote.end] == "Evaluate $\\log_2 64"
    assert quote.coverage == 1.0


def test_a_question_ends_at_the_edges_of_words():
    assert rules(["Please evaluate log 2 642 now", "reevaluate log 2 64"], SHORT) == []
    assert rules(["Evaluate log", "2 64"], SHORT) == []  # not over two texts


def test_numbers_with_other_signs_are_other_questions():
    question = "What is 3 + 4?"
    assert rules(["What is 3 - 4?", "What is 3 · 4?"], question) == []
    assert rules(["what is 3+4", "What is 3 4?"], question) == [(0, 0, "whole"), (1, 0, "whole")]
    assert rules(["882 ÷ 2 is 441"], "8 + 8 ÷ 2 + 2 =") == []
    assert rules(["Add 46911  653092"], "Add. 46,911 + 653,092") == [(0, 0, "whole")]
    assert rules(["Why is well-being good -- here?"], "Why is well being good here") != []


def test_short_questions_stand_alone_in_responses():
    question = "The heart has:"
    alone = [
        "So: the heart has? Four.",
        "The heart has",
        "Note:\nthe heart has\nfour",
        "x. The heart has Four",
    ]
    inside = ["Now the heart has four", "the heart has a valve. Yes", "Well, the heart has valves"]
    assert len(rules(alone, question, in_responses=True)) == len(alone)
    assert rules(inside, question, in_responses=True) == []
    assert len(rules(inside, question)) == len(inside)  # in questions they count anywhere


def test_one_or_two_words_are_compared_whole():
    assert rules(["Inflation", "inflation!", "What is inflation?"], "Inflation") == [
        (0, 0, "whole"),
        (1, 0, "whole"),
    ]
    assert rules(["Inflation"], "Inflation", in_responses=True) == []


def test_half_of_a_question_is_a_quote_and_less_is_none():
    words = [f"w{number}" for number in range(40)]
    question = " ".join(words)
    half, less = " ".join(words[5:25]), " ".join(words[5:24])
    assert rules([f"a {half} b", f"a {less} b"], question) == [(0, 0, "overlap")]
    (quote,) = finder(question).in_questions([f"a {half} b"])
    assert (quote.start, quote.end, quote.coverage) == (2, 2 + len(half), 0.5)
    assert rules([" ".join(words[:RUN])], question, min_coverage=0.0) == [(0, 0, "overlap")]
    assert rules([" ".join(words[: RUN - 1])], question, min_coverage=0.0) == []


def test_the_longest_stretch_is_shown():
    words = [f"w{number}" for number in range(60)]
    text = " ".join([*words[:15], "x", *words[20:50], "y", *words[45:60]])
    (quote,) = finder(" ".join(words)).in_questions([text])
    assert text[quote.start : quote.end] == " ".join(words[20:50])
    assert quote.coverage == 1 - 5 / 60


def test_a_template_is_no_quote_but_a_question_from_it_is():
    template = (
        "If {} hens lay {} eggs in a day how many of their eggs do you find in the nest at the end "
        "of the week and in {} days"
    )
    asked = [template.format(n, n + 3, n + 5) for n in range(20)]
    groups = np.zeros(20, np.int64)
    other = template.format(91, 92, 93)
    assert list(QuoteFinder(asked, groups, 0.1).in_questions([other])) == []
    (quote,) = QuoteFinder(asked, groups, 0.1).in_questions([f"A. {asked[7]}"])
    assert (quote.question, quote.rule) == (7, "contained")
    # what is shared by many benchmarks is no template of any of them
    assert list(QuoteFinder(asked, np.arange(20), 0.1).in_questions([other])) != []


def test_what_is_not_searched_is_compared_whole():
    stem = "Which of these is true?"
    found = finder(stem, searched=np.array([False]))
    assert [quote.rule for quote in found.in_questions([stem, f"x {stem}"])] == ["whole"]


def test_boilerplate_is_no_part_of_a_question():
    """Neither where it stands in the benchmark alone nor where the pool has it too."""
    boilerplate = " ".join(f"b{number}" for number in range(60))
    asked = [" ".join(f"q{n}w{k}" for k in range(20)) for n in range(SHARED_BY + 1)]
    benchmark = [f"{boilerplate} {text}" for text in asked]
    assert rules([asked[3]], *benchmark) == [(0, 3, "overlap")]
    assert rules([f"{boilerplate} what is new here"], *benchmark) == []
    changed = benchmark[3].replace("w4", "w")
    assert rules([changed], *benchmark) == [(0, 3, "overlap")]


def test_questions_that_begin_alike_take_no_memory_together():
    """A pair of a text and a question with the same beginning is no candidate."""
    shared = "Solve the following math problem step by step and put your answer in a box please"
    asked = [f"{shared} q{number}" for number in range(1500)]
    texts = [f"{shared} t{number}" for number in range(1500)]
    found = finder(*asked)
    tracemalloc.start()
    assert list(found.in_questions(texts)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # 2,250,000 pairs of 8 bytes, several times


def test_many_pairs_come_in_parts(monkeypatch):
    monkeypatch.setattr(lookup, "PAIRS_AT_A_TIME", 3)
    keys = np.array([7, 7, 9, 7, 9], dtype=np.uint64) << np.uint64(60)
    found = lookup.Lookup(keys, np.arange(5))
    parts = list(found.find_in_parts(keys[[0, 2, 0]]))
    assert [part[0].tolist() for part in parts] == [[0, 0, 0, 1, 1], [2, 2, 2]]
    assert found.find(keys[[0, 2]])[1].tolist() == [0, 1, 3, 2, 4]
    assert found.find(np.zeros(0, np.uint64))[0].tolist() == []


def test_texts_and_questions_without_words():
    assert rules(["", "?!", "🙂"], "?!", "", "Why?") == []
    assert list(finder().in_questions(["Why not?"])) == []
    assert list(finder("Why not you?").in_questions([])) == []


LETTERS = st.lists(st.sampled_from("abc"), max_size=60)


def naive_coverage(text, question):
    """Share of the question's words in runs of 13 that the text has."""
    runs = {tuple(text[i : i + RUN]) for i in range(len(text) - RUN + 1)}
    covered = set()
    for i in range(len(question) - RUN + 1):
        if tuple(question[i : i + RUN]) in runs:
            covered.update(range(i, i + RUN))
    return len(covered) / len(question) if question else 0.0


def contains(text, question):
    size = len(question)
    return any(text[i : i + size] == question for i in range(len(text) - size + 1))


@given(st.data(), st.lists(LETTERS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_quotes_are_those_of_the_definition(data, questions):
    part = st.sampled_from(questions).flatmap(
        lambda one: st.tuples(st.integers(0, 9), st.integers(10, 60)).map(
            lambda cut: one[cut[0] : cut[1]]
        )
    )
    texts = data.draw(
        st.lists(st.lists(part | LETTERS, max_size=3).map(lambda x: sum(x, [])), max_size=4)
    )
    found = finder(*map(" ".join, questions))
    quotes = {quote[:2]: quote for quote in found.in_questions(list(map(" ".join, texts)))}
    for t, text in enumerate(texts):
        for q, question in enumerate(questions):
            coverage, quote = naive_coverage(text, question), quotes.get((t, q))
            if question and text == question:
                assert quote.rule == "whole"
            elif len(question) >= 3 and contains(text, question):
                assert quote.rule == "contained"
                assert " ".join(text)[quote.start : quote.end] == " ".join(question)
            elif len(question) >= RUN and coverage >= 0.5:
                assert quote.rule == "overlap"
                assert quote.coverage == coverage
            else:
                assert quote is None
