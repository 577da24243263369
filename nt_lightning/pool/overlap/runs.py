"""Runs of 13 words that texts have in common with questions, and how much of these they cover."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.lookup import Lookup, ranges
from nt_lightning.pool.overlap.words import Hashes, SpanHasher, Words, run_hashes, word_hashes

RUN = 13  # words; NaturalReasoning (arXiv:2502.13124)
# a run that more questions of one benchmark share, with other numbers perhaps, is a template or
# boilerplate and says nothing (our choice)
SHARED_BY = 10


class Covered(NamedTuple):
    """A text that has runs of words in common with a question.

    Args:
        text: Which text.
        question: Which question.
        coverage: Of the question's words in runs that are looked for, the share in common runs.
        start: First letter of the longest stretch of such runs, among the letters of all texts.
        end: Letter after its last.
    """

    text: int
    question: int
    coverage: float
    start: int
    end: int


class RunIndex:
    """Every run of 13 words of some questions.

    Args:
        questions: Their words.
        groups: Benchmark of each question, [Q].
        min_coverage: Share of a question's words from which a text is found; words that stand in
            boilerplate alone are none of them.
    """

    def __init__(self, questions: Words, groups: Ints, min_coverage: float) -> None:
        self._words, self._min_coverage = questions, min_coverage
        hasher = SpanHasher(questions.letters)
        first_words, hashes = _runs(questions, hasher)
        asked = questions.texts[first_words]
        masked = run_hashes(
            word_hashes(questions, hasher, without_numbers=True),
            first_words,
            np.full(len(first_words), RUN),
        )
        kept = _is_rare(masked, groups[asked], hasher(*questions.spans)[asked])
        self._lookup = Lookup(hashes[kept], first_words[kept])
        owners, starts = np.unique(asked[kept], return_index=True)
        self._num_words = np.ones(len(questions.counts), dtype=np.int64)
        self._num_words[owners] = _covered(first_words[kept], starts)

    def find(self, words: Words, hasher: SpanHasher) -> Iterator[Covered]:
        """Texts that cover enough of a question, by text and question."""
        firsts, hashes = _runs(words, hasher)
        rows, asked = self._lookup.find(hashes)
        said = firsts[rows]
        texts, questions = words.texts[said], self._words.texts[asked]
        order = np.lexsort((asked, questions, texts))
        pairs = np.stack([texts, questions])[:, order]
        said, asked = said[order], asked[order]
        cuts = np.flatnonzero((np.diff(pairs, axis=1) != 0).any(axis=0)) + 1
        starts = np.append(0, cuts) if len(order) else cuts
        coverage = _covered(asked, starts) / self._num_words[pairs[1, starts]]
        stops = np.append(cuts, len(order))
        for group in np.flatnonzero(coverage >= self._min_coverage).tolist():
            own = slice(starts[group], stops[group])
            if self._is_quoted(words, said[own], asked[own]):
                first, last = _longest_stretch(np.unique(said[own]))
                text, question = pairs[:, starts[group]].tolist()
                start, end = int(words.starts[first]), int(words.ends[last])
                yield Covered(text, question, float(coverage[group]), start, end)

    def _is_quoted(self, words: Words, said: Ints, asked: Ints) -> bool:
        """Whether all letters are the same: equal hashes may be an accident."""
        return all(
            np.array_equal(
                words.letters[words.starts[here] : words.ends[here + RUN - 1]],
                self._words.letters[self._words.starts[there] : self._words.ends[there + RUN - 1]],
            )
            for here, there in zip(said.tolist(), asked.tolist(), strict=True)
        )


def _runs(words: Words, hasher: SpanHasher) -> tuple[Ints, Hashes]:
    """First word of every run of 13 words that stands in one text, and the run's hash."""
    firsts = ranges(words.bounds[:-1], np.maximum(words.counts - RUN + 1, 0))
    return firsts, hasher(words.starts[firsts], words.ends[firsts + RUN - 1])


def _is_rare(hashes: Hashes, groups: Ints, whole: Hashes) -> npt.NDArray[np.bool_]:
    """Runs that few different questions of a benchmark share, [R].

    Args:
        hashes: Hash of each run, whatever its numbers.
        groups: Its benchmark.
        whole: Hash of the question that it stands in.
    """
    order = np.lexsort((whole, hashes, groups))
    same_run = (np.diff(hashes[order], prepend=0) == 0) & (np.diff(groups[order], prepend=-1) == 0)
    is_new = ~(same_run & (np.diff(whole[order], prepend=0) == 0))
    run = np.cumsum(~same_run) - 1
    rare = np.empty(len(hashes), dtype=bool)
    rare[order] = np.bincount(run[is_new], minlength=1)[run] <= SHARED_BY
    return rare


def _covered(firsts: Ints, starts: Ints) -> Ints:
    """Words that runs cover together, for each group of runs.

    Args:
        firsts: First words of the runs, ascending in each group.
        starts: Where each group starts.
    """
    if not len(firsts):
        return np.zeros(0, dtype=np.int64)
    new = np.minimum(np.diff(firsts, append=firsts[-1] + RUN), RUN)
    new[np.append(starts[1:], len(firsts)) - 1] = RUN  # nothing follows a group's last
    return np.add.reduceat(new, starts)


def _longest_stretch(firsts: Ints) -> tuple[int, int]:
    """First and last word of the longest stretch of runs that touch, the first of equal ones."""
    parts = np.split(firsts, np.flatnonzero(np.diff(firsts) > RUN) + 1)
    longest = max(parts, key=lambda part: part[-1] - part[0])
    return int(longest[0]), int(longest[-1]) + RUN - 1
