"""Words and hashes against a definition that reads one character after the other."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.pool.overlap import words as module
from nt_lightning.pool.overlap.lookup import Lookup, ranges
from nt_lightning.pool.overlap.words import SpanHasher, split_words, text_blocks

CHARACTERS = "aAbZé'’ -+.,0١½ﬁß²\t\n京が한\u0301\u200b_$"
TEXTS = st.lists(st.text(st.sampled_from(CHARACTERS) | st.characters(), max_size=25), max_size=6)


def words_of(texts, **options):
    words = split_words(texts, **options)
    spans = list(zip(words.starts.tolist(), words.ends.tolist(), strict=True))
    spelled = ["".join(map(chr, words.letters[start:end].tolist())) for start, end in spans]
    bounds = words.bounds.tolist()
    return [spelled[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]


def naive_words(text):
    """Words of lower-case letters without marks; apostrophes and marks part nothing."""
    found, word = [], ""
    for character in text:
        form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
        letters = ""
        for one in form:
            base, *marks = list(unicodedata.normalize("NFD", one))
            if one.isalnum():
                letters += base if all(map(unicodedata.combining, marks)) else one
        joins = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        if unicodedata.normalize("NFKC", character) in "÷⁄":
            letters, joins = "", False
        alone = len(letters) == 1 and any(
            low <= ord(letters) <= high
            for low, high in ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF))
        )
        alone = alone or (len(letters) == 1 and ord(letters) >= 0x20000)
        if alone or (not letters and not joins and character not in "'’ʼ`"):
            found += [word, letters] if alone else [word]
            word = ""
        else:
            word += letters
    return [one for one in [*found, word] if one]


@given(TEXTS)
def test_words_are_those_of_the_definition(texts):
    assert words_of(texts) == [naive_words(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Janet’s  DUCKS\tlay 16.", ["janets", "ducks", "lay", "16"]),
        ("ﬁnd x² in ½ naïve cafe\u0301s", ["find", "x2", "in", "12", "naive", "cafes"]),
        (r"\frac{1}{2}_3", ["frac", "1", "2", "3"]),
        ("北京は", ["北", "京", "は"]),
        ("?!", []),
    ],
)
def test_words_by_hand(text, expected):
    assert words_of([text]) == [expected]


def test_operators_are_words_where_asked_for():
    assert words_of(["3 − 4≤x*y"], operators=True) == [["3", "-", "4", "<", "x", "*", "y"]]


@given(TEXTS)
def test_places_are_those_of_the_characters(texts):
    words = split_words(texts)
    starts, ends = words.spans
    for text, start, end in zip(texts, starts, ends, strict=True):
        places = words.places[start:end].tolist()
        assert places == sorted(places)
        for place, letter in zip(places, words.letters[start:end].tolist(), strict=True):
            assert naive_words(text[place])
            assert chr(letter) in "".join(naive_words(text[place]))


def test_lone_surrogates_break_words():
    assert words_of(["a\ud800b"]) == [["a", "b"]]


@given(st.text("abc", max_size=40))
def test_equal_runs_have_equal_hashes_wherever_they_stand(text):
    letters = split_words([text]).letters
    hasher = SpanHasher(letters)
    pairs = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    hashes = hasher(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T).tolist()
    spelled = [text[i:j] for i, j in pairs]
    assert len(set(zip(hashes, spelled, strict=True))) == len(set(hashes)) == len(set(spelled))


@given(st.lists(st.integers(0, 30), max_size=20), st.lists(st.integers(0, 40), max_size=40))
def test_lookup_gives_every_value_of_every_key(keys, asked):
    spread = np.uint64(0x9E3779B97F4A7C15)  # over all 64 bits, as hashes are
    lookup = Lookup(np.array(keys, dtype=np.uint64) * spread, np.arange(len(keys)))
    found = list(
        zip(
            *(part.tolist() for part in lookup.find(np.array(asked, dtype=np.uint64) * spread)),
            strict=True,
        )
    )
    expected = [(a, k) for a, one in enumerate(asked) for k, key in enumerate(keys) if key == one]
    assert found == expected


def test_ranges_by_hand():
    assert ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]


def test_blocks_hold_every_text_once(monkeypatch):
    monkeypatch.setattr(module, "CHARACTERS_AT_A_TIME", 10)
    texts = ["x" * (number * 7 % 25) for number in range(20)]
    blocks = list(text_blocks(pa.chunked_array([texts[:7], [None], texts[7:]])))
    assert len(blocks) > 10
    assert [text for _, block in blocks for text in block] == [*texts[:7], "", *texts[7:]]
    firsts = np.cumsum([0, *(len(block) for _, block in blocks)])[:-1].tolist()
    assert [first for first, _ in blocks] == firsts
    assert list(text_blocks(pa.chunked_array([pa.array([], pa.string())]))) == []
