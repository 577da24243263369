"""Questions that stand whole in a text, from one word's edge to another's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.lookup import Lookup
from nt_lightning.pool.overlap.words import SpanHasher, Words

# letters; a question is looked for by the longest that it has, so that few others are met
ANCHORS = (1, 4, 6, 8, 12, 16, 24, 32, 48)


class Spans(NamedTuple):
    """Where texts quote questions, [P] each.

    Args:
        texts: Which text.
        questions: Which question.
        starts: First letter of the quoting span, among the letters of all texts.
        ends: Letter after its last.
    """

    texts: Ints
    questions: Ints
    starts: Ints
    ends: Ints

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> Spans:
        """Some of them."""
        return Spans(*(column[rows] for column in self))


class ContainedIndex:
    """Questions by their letters, so that blanks and punctuation inside them do not count.

    Args:
        questions: Their words.
        searched: Which of them are looked for inside of texts, [Q].
    """

    def __init__(self, questions: Words, searched: npt.NDArray[np.bool_]) -> None:
        hasher = SpanHasher(questions.letters)
        starts, ends = questions.spans
        self._letters, self._starts = questions.letters, starts
        self._lengths = ends - starts
        self._hashes = hasher(starts, ends)
        there = np.flatnonzero(self._lengths)
        self._whole = Lookup(self._hashes[there], there)
        self._searched = Lookup(self._hashes[searched], np.flatnonzero(searched))
        anchor = np.searchsorted(ANCHORS, self._lengths, side="right") - 1
        self._anchors = {}  # lengths of the questions that begin with so many letters
        for number, length in enumerate(ANCHORS):
            rows = np.flatnonzero(searched & (anchor == number))
            if len(rows):
                keys = hasher(starts[rows], starts[rows] + length)
                pairs = np.unique(np.stack([keys, self._lengths[rows].astype(np.uint64)]), axis=1)
                self._anchors[length] = Lookup(pairs[0], pairs[1].astype(np.int64))

    def whole(self, words: Words, hasher: SpanHasher) -> Spans:
        """Texts that are one of the questions."""
        starts, ends = words.spans
        texts, questions = self._whole.find(hasher(starts, ends))
        return self._confirmed(Spans(texts, questions, starts[texts], ends[texts]), words)

    def inside(self, words: Words, hasher: SpanHasher) -> Spans:
        """All places of questions in the texts, by text, question and place."""
        parts = [
            part
            for length, lookup in self._anchors.items()
            for part in self._anchored(length, lookup, words, hasher)
        ]
        if not parts:
            return Spans(*np.zeros((4, 0), dtype=np.int64))
        found = Spans(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        return found.take(np.lexsort((found.starts, found.questions, found.texts)))

    def _anchored(
        self, length: int, lookup: Lookup, words: Words, hasher: SpanHasher
    ) -> Iterator[Spans]:
        """Places where a word begins with the first ``length`` letters of a question and ..."""
        begins = np.flatnonzero(words.starts + length <= len(words.letters))
        texts, starts = words.texts[begins], words.starts[begins]
        stops = words.spans[1][texts]
        is_end = np.zeros(len(words.letters) + 1, dtype=bool)
        is_end[words.ends] = True
        for rows, lengths in lookup.find_in_parts(hasher(starts, starts + length)):
            ends = starts[rows] + lengths
            fits = ends <= stops[rows]
            fits[fits] = is_end[ends[fits]]
            rows, ends = rows[fits], ends[fits]
            found, questions = self._searched.find(hasher(starts[rows], ends))
            rows, ends = rows[found], ends[found]
            yield self._confirmed(Spans(texts[rows], questions, starts[rows], ends), words)

    def _confirmed(self, found: Spans, words: Words) -> Spans:
        """Those whose letters are the question's: equal hashes may be an accident."""
        same = np.ones(len(found.texts), dtype=bool)
        for row, (_, question, start, end) in enumerate(zip(*found, strict=True)):
            first = self._starts[question]
            asked = self._letters[first : first + self._lengths[question]]
            same[row] = np.array_equal(words.letters[start:end], asked)
        return found.take(same)
