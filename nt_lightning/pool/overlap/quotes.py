"""Which texts quote which of some questions, where, and by what rule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.contained import ContainedIndex, Spans
from nt_lightning.pool.overlap.letters import OPERATORS, Ints
from nt_lightning.pool.overlap.runs import RUN, RunIndex
from nt_lightning.pool.overlap.words import SpanHasher, Words, count_named, split_words

Rule = Literal["whole", "contained", "overlap"]
MIN_WORDS = 3  # shorter questions ("Inflation") are not looked for by themselves (our choice)
SENTENCE_WORDS = 8  # shorter ones count in a response where they stand alone (our choice)
_OPERATOR = re.compile("|".join(map(re.escape, OPERATORS)))
_HYPHEN = re.compile(r"--+|(?<=[^\W\d_])[-–‐‑](?=[^\W\d_])")  # no minus
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_GAP, _GAP_BEFORE = re.compile(r"[\W_]*"), re.compile(r"[\W_]*\Z")
_MARK = re.compile(r"[^\w ]")
LOOK_BACK = 50  # characters in front of a span


class Quote(NamedTuple):
    """A question found in a text.

    Args:
        text: Which text.
        question: Which question.
        rule: ``whole``: the text is the question; ``contained``: it stands in the text, whole;
            ``overlap``: runs of 13 words cover enough of it.
        start: First character of the span that quotes.
        end: Character after its last.
        coverage: Share of the question's words that are quoted, boilerplate left out.
    """

    text: int
    question: int
    rule: Rule
    start: int
    end: int
    coverage: float


class QuoteFinder:
    """Finds questions in texts.

    Args:
        questions: Their texts.
        groups: Benchmark of each, [Q].
        min_coverage: Share of a question's words from which common runs of 13 words are a quote.
        searched: Which are looked for inside of texts, [Q]; the others are compared whole.
    """

    def __init__(
        self,
        questions: Sequence[str],
        groups: Ints,
        min_coverage: float,
        searched: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        words = split_words(questions)
        self._num_words = words.counts
        self._num_named = count_named(words)
        self._questions = _trimmed(questions, words)
        inside = self._num_words >= MIN_WORDS
        self._contained = ContainedIndex(words, inside if searched is None else inside & searched)
        self._runs = RunIndex(words, groups, min_coverage)

    def in_questions(self, texts: Sequence[str]) -> Iterator[Quote]:
        """Quotes in questions, the first of each question in each text."""
        words = split_words(texts)
        hasher = SpanHasher(words.letters)
        found = _quotes("whole", self._contained.whole(words, hasher), words)
        whole = [quote for quote in found if self._is_meant(quote, texts[quote.text])]
        yield from whole
        seen = {(quote.text, quote.question) for quote in whole}
        yield from self._quoted(texts, words, hasher, seen, in_responses=False)

    def in_responses(self, texts: Sequence[str]) -> Iterator[Quote]:
        """Quotes in reasoning or answers, which are long: very short questions must stand alone."""
        words = split_words(texts)
        yield from self._quoted(texts, words, SpanHasher(words.letters), set(), in_responses=True)

    def _quoted(
        self,
        texts: Sequence[str],
        words: Words,
        hasher: SpanHasher,
        seen: set[tuple[int, int]],
        *,
        in_responses: bool,
    ) -> Iterator[Quote]:
        for quote in _quotes("contained", self._contained.inside(words, hasher), words):
            text = texts[quote.text]
            if (quote.text, quote.question) in seen or not self._is_meant(quote, text):
                continue
            if in_responses and not self._is_marked(quote, text):
                continue
            seen.add((quote.text, quote.question))
            yield quote
        for found in self._runs.find(words, hasher):
            if (found.text, found.question) not in seen:
                start, end = words.places[found.start], words.places[found.end - 1] + 1
                span = int(start), int(end)
                yield Quote(found.text, found.question, "overlap", *span, found.coverage)

    def _is_meant(self, quote: Quote, text: str) -> bool:
        """Whether a short question has the same signs; one of 13 words or more is no accident."""
        if self._num_words[quote.question] >= RUN:
            return True
        strict = self._num_named[quote.question] < MIN_WORDS
        quoted = text[quote.start : quote.end]
        return _operators_agree(quoted, self._questions[quote.question], strict=strict)

    def _is_marked(self, quote: Quote, text: str) -> bool:
        """Whether a question is a sentence's length, or stands alone."""
        is_long = self._num_words[quote.question] >= SENTENCE_WORDS
        return is_long or _stands_alone(text, quote.start, quote.end)


def _quotes(rule: Rule, found: Spans, words: Words) -> Iterator[Quote]:
    starts, ends = words.places[found.starts], words.places[found.ends - 1] + 1
    for text, question, start, end in zip(
        found.texts.tolist(), found.questions.tolist(), starts.tolist(), ends.tolist(), strict=True
    ):
        yield Quote(text, question, rule, start, end, 1.0)


def _trimmed(texts: Sequence[str], words: Words) -> list[str]:
    """Texts from their first letter to their last, as spans of quotes are."""
    starts, ends = words.spans
    return [
        text[words.places[start] : words.places[end - 1] + 1] if end > start else ""
        for text, start, end in zip(texts, starts.tolist(), ends.tolist(), strict=True)
    ]


def _operators_agree(one: str, other: str, *, strict: bool) -> bool:
    """Whether the signs of arithmetic are the same: letters do not tell 3 + 4 from 3 - 4.

    Args:
        one: A text.
        other: Another one of the same letters.
        strict: Where signs are lost, the numbers between them must be the same; else signs may
            be lost as punctuation may. None may be another.
    """
    signs = [
        [OPERATORS[sign] for sign in _OPERATOR.findall(_HYPHEN.sub(" ", text))]
        for text in (one, other)
    ]
    few, many = sorted(signs, key=len)
    rest = iter(many)
    may_be = all(sign in rest for sign in few)
    if may_be and strict and len(few) < len(many):
        one, other = (_THOUSANDS.sub("", text) for text in (one, other))
        return re.findall(r"\d+", one) == re.findall(r"\d+", other)
    return may_be


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a span is a sentence or line: between marks or the text's ends, or a capital next."""
    before = _GAP_BEFORE.search(text, max(start - LOOK_BACK, 0), start)
    after = _GAP.match(text, end)
    assert before is not None  # an empty gap matches too
    assert after is not None
    begins = before.start() == 0 or _MARK.search(before.group())
    ends = after.end() == len(text) or _MARK.search(after.group()) or text[after.end()].isupper()
    return bool(begins and ends)
