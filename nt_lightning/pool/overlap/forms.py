"""Forms in which benchmark questions are looked for: stems, and with options where need be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.pool.overlap.contained import ContainedIndex
from nt_lightning.pool.overlap.letters import Ints
from nt_lightning.pool.overlap.quotes import MIN_WORDS
from nt_lightning.pool.overlap.runs import RUN
from nt_lightning.pool.overlap.words import SpanHasher, split_words
from nt_lightning.pool.stems import notations

GENERIC = 3  # questions of a benchmark that hold another one, which asks nothing (our choice)
Compared = Literal["with its options", "whole", "never"]


class Forms(NamedTuple):
    """What is looked for, F forms of Q questions.

    Args:
        texts: The forms.
        owners: Question of each, [F].
        searched: Which are looked for inside of texts, [F]; the others are compared whole.
        compared: How questions are compared that are not looked for by themselves.
    """

    texts: list[str]
    owners: Ints
    searched: npt.NDArray[np.bool_]
    compared: dict[int, Compared]


def forms_of(
    questions: Sequence[str],
    with_options: Sequence[str],
    options: Sequence[Sequence[str]],
    groups: Ints,
) -> Forms:
    """Stems, and other forms of those that say little.

    A stem under 13 words is also looked for as the benchmark has it, with its options. One that
    others of its benchmark contain, or under ``MIN_WORDS`` words, says nothing: inside of texts it
    is looked for with its options alone, in several notations.

    Args:
        questions: The stems, [Q].
        with_options: Questions as the benchmark has them, [Q].
        options: Texts of each question's options, none where they are not known apart, [Q].
        groups: Benchmark of each, [Q].
    """
    counts = split_words(questions).counts
    weak = generic_questions(questions, with_options, groups) | (counts < MIN_WORDS)
    texts, owners = list(questions), list(range(len(questions)))
    for number in np.flatnonzero(weak | (counts < RUN)).tolist():
        more = {with_options[number]} - {questions[number]}
        if weak[number] and options[number]:
            more |= set(notations(questions[number], options[number]))
        texts += sorted(more)
        owners += [number] * len(more)
    numbers = np.array(owners, dtype=np.int64)
    long = split_words(texts).counts >= MIN_WORDS
    searched = long & np.append(~weak, np.ones(len(texts) - len(weak), dtype=bool))
    again = set(numbers[len(questions) :][searched[len(questions) :]].tolist())
    compared: dict[int, Compared] = {
        number: "with its options" if number in again else "whole" if counts[number] else "never"
        for number in np.flatnonzero(weak).tolist()
    }
    return Forms(texts, numbers, searched, compared)


def generic_questions(
    questions: Sequence[str], with_options: Sequence[str], groups: Ints
) -> npt.NDArray[np.bool_]:
    """Questions that several others of their benchmark contain ("Which of these is true?"), [Q].

    Args:
        questions: Their texts.
        with_options: The same with the options; questions of equal texts are one.
        groups: Benchmark of each, [Q].
    """
    words = split_words(questions)
    hasher = SpanHasher(words.letters)
    full = split_words(with_options)
    hashes = SpanHasher(full.letters)(*full.spans)
    short = (words.counts >= MIN_WORDS) & (words.counts < RUN)
    found = ContainedIndex(words, short).inside(words, hasher)
    held, holding = found.questions, found.texts
    others = (groups[held] == groups[holding]) & (hashes[held] != hashes[holding])
    pairs = np.stack([held[others].astype(np.uint64), hashes[holding[others]]])
    number, counts = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)
    generic = np.zeros(len(questions), dtype=bool)
    generic[number[counts >= GENERIC].astype(np.int64)] = True
    return generic
