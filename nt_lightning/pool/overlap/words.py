"""Words of many texts at once, and hashes of any run of them: NumPy arrays, no loop over words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.pool.overlap.letters import CODE_POINTS, Codes, Folding, Ints, Kind, codes_of

Hashes = npt.NDArray[np.uint64]
CHARACTERS_AT_A_TIME = 2**20  # arrays of 8 MB, which stay in the processor's cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64 (our choice)
_folding = cache(Folding)


class Words(NamedTuple):
    """Words of N texts: W words of C letters, blanks and punctuation left out.

    Args:
        letters: The letters, folded, one text after the other, [C].
        places: Which character of its own text each letter is, [C].
        starts: First letter of each word, [W].
        ends: Letter after the last of each word, [W].
        bounds: First word of each text, and W, [N + 1].
    """

    letters: Codes
    places: Ints
    starts: Ints
    ends: Ints
    bounds: Ints

    @property
    def counts(self) -> Ints:
        """Words of each text, [N]."""
        return np.diff(self.bounds)

    @property
    def texts(self) -> Ints:
        """Text of each word, [W]."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.counts)

    @property
    def spans(self) -> tuple[Ints, Ints]:
        """First letter of each text and the letter after its last, [N] each."""
        edges = np.append(self.starts, len(self.letters))[self.bounds]
        return edges[:-1], edges[1:]


def split_words(texts: Sequence[str], *, operators: bool = False) -> Words:
    """Words are runs of letters and digits; case, accents and apostrophes do not count.

    Args:
        texts: The texts.
        operators: Signs of arithmetic are words too.
    """
    codes = codes_of("\n".join(texts))  # a line's end is no letter, so words end with their text
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    text_starts = np.cumsum(np.append(0, lengths + 1))
    folded = _folding().fold(codes)
    found = np.flatnonzero(folded.kinds >= (Kind.OPERATOR if operators else Kind.LETTER))
    kinds = folded.kinds[found]
    first = np.ones(len(found), dtype=bool)
    first[1:] = np.diff(found) > 1
    _join(first, found, np.flatnonzero(folded.kinds == Kind.JOIN))
    if (alone := (kinds == Kind.ALONE) | (kinds == Kind.OPERATOR)).any():
        first |= alone
        first[1:] |= alone[:-1]
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(found)) if len(starts) else starts
    places = folded.places[found] if folded.places is not None else found
    bounds = np.searchsorted(places[starts], text_starts)
    edges = np.append(starts, len(found))[bounds]
    places = places - np.repeat(text_starts[:-1], np.diff(edges))
    return Words(folded.letters(found), places, starts, ends, bounds)


def _join(first: npt.NDArray[np.bool_], found: Ints, joins: Ints) -> None:
    """A letter that nothing but joining characters parts from the last one begins no word."""
    if len(joins):
        after = np.flatnonzero(first[1:]) + 1
        between = np.searchsorted(joins, found[after]) - np.searchsorted(joins, found[after - 1])
        first[after] = found[after] - found[after - 1] - 1 > between


class SpanHasher:
    """Hashes of any run of letters, from one sum over all of them.

    With values v and an odd base B the sum S_i = v_0 + v_1 B + .. + v_(i-1) B^(i-1) modulo 2**64
    gives the hash of letters i to j - 1 as (S_j - S_i) B^-i, wherever the run stands.

    Args:
        letters: Folded letters, [C].
    """

    def __init__(self, letters: Codes) -> None:
        powers, self._inverses = _powers(_power_of_two(len(letters) + 1))
        self._sums = np.zeros(len(letters) + 1, dtype=np.uint64)
        np.cumsum(_values()[letters] * powers[: len(letters)], out=self._sums[1:])

    def __call__(self, starts: Ints, ends: Ints) -> Hashes:
        """Hashes of the runs from ``starts`` to before ``ends``, [any]."""
        return (self._sums[ends] - self._sums[starts]) * self._inverses[starts]


def word_hashes(words: Words, hasher: SpanHasher, *, without_numbers: bool = False) -> Hashes:
    """Hash of each word, [W].

    Args:
        words: The words.
        hasher: Of their letters.
        without_numbers: Words that begin with a digit are all the same.
    """
    hashes = hasher(words.starts, words.ends)
    if without_numbers:
        first = words.letters[words.starts]
        hashes[(first >= ord("0")) & (first <= ord("9"))] = 0
    return hashes


def run_hashes(each: Hashes, firsts: Ints, lengths: Ints) -> Hashes:
    """Hashes of runs of words by their words, [R]: 1 23 is not 12 3, as it is by its letters.

    Args:
        each: Hash of each word, [W].
        firsts: First word of each run, [R].
        lengths: Words of each run, [R].
    """
    hashes = np.zeros(len(firsts), dtype=np.uint64)
    for place in range(lengths.max(initial=0)):
        inside = lengths > place
        hashes[inside] = hashes[inside] * np.uint64(_BASE) + each[firsts[inside] + place]
    return hashes ^ (hashes >> np.uint64(32))


def count_named(words: Words) -> Ints:
    """Words that do not begin with a digit, for each text, [N]."""
    named = word_hashes(words, SpanHasher(words.letters), without_numbers=True) != 0
    return np.diff(np.append(0, np.cumsum(named))[words.bounds])


def text_blocks(texts: pa.ChunkedArray) -> Iterator[tuple[int, list[str]]]:
    """First row and texts of blocks of about ``CHARACTERS_AT_A_TIME``; null is an empty text."""
    if not len(texts):
        return
    lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy()
    block = np.cumsum(lengths, dtype=np.int64) // CHARACTERS_AT_A_TIME
    cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(texts)]
    for start, stop in zip(cuts, cuts[1:], strict=False):
        yield start, [text or "" for text in texts.slice(start, stop - start).to_pylist()]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


@cache
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse; the caller asks for few different counts."""
    bases = [_BASE, pow(_BASE, -1, 2**64)]
    steps = np.array(bases, dtype=np.uint64)[:, None].repeat(count, axis=1)
    steps[:, 0] = 1
    powers = np.cumprod(steps, axis=1)
    return powers[0], powers[1]


@cache
def _values() -> Hashes:
    """A number of 64 mixed bits for each letter.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014).
    """
    mixed = np.arange(1, CODE_POINTS + 1, dtype=np.uint64) * np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
