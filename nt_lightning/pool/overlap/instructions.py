"""Words that many prompts of a benchmark begin or end with: instructions, no questions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from nt_lightning.pool.overlap.quotes import MIN_WORDS
from nt_lightning.pool.overlap.words import count_named, split_words

MIN_PROBLEMS = 5  # fewer may begin or end alike by chance (our choice)
SHARED = (
    1 / 4
)  # of the prompts: a benchmark may have its instruction in a few wordings (our choice)
LONG = 10  # words that so many share are an instruction without a sentence's end too (our choice)
OPTION = re.compile(r"\s*[(\[]?([A-Z])[).:\]]\s+(\S.*)")  # a line of a multiple-choice question
_TOKEN = re.compile(r"\w+|[^\w\s]")


def without_instructions(prompts: Sequence[str]) -> list[str]:
    r"""Prompts without the words that many of them begin or end with.

    A leak has the question in it, rarely ``Put your final answer within \boxed{}.`` as well. An
    instruction is whole sentences or lines, or ``LONG`` words; it asks nothing itself, and most of
    the prompts have ``MIN_WORDS`` words without it, not all of them numbers (our choice).
    """
    rest = list(prompts)
    if len(rest) >= MIN_PROBLEMS:
        for at_end in (False, True):
            while _cut_one(rest, at_end):
                pass
    return rest


class _Edge:
    """The words and signs of a text, from one of its ends on."""

    def __init__(self, text: str, at_end: bool) -> None:
        self._text, self._at_end = text, at_end
        found = list(_TOKEN.finditer(text))
        self._found = found[::-1] if at_end else found
        self.tokens = [token.group() for token in self._found]

    def rest(self, count: int) -> str:
        """The text without so many tokens."""
        last = self._found[count - 1]
        return (self._text[: last.start()] if self._at_end else self._text[last.end() :]).strip()

    def is_break(self, count: int) -> bool:
        """Whether a line or sentence ends between so many tokens and the rest."""
        if count >= len(self._found):
            return False
        here, there = self._found[count - 1], self._found[count]
        if self._at_end:
            here, there = there, here
        gap = self._text[here.end() : there.start()]
        is_mark = bool(gap) and here.group() in (".:!?" if self._at_end else ".:!")
        return "\n" in gap or is_mark or here.group() in "。：！？"

    def asks(self, count: int) -> bool:
        """Whether the token behind so many ends a question, or an option begins there."""
        if self.tokens[count : count + 1] in (["?"], ["？"]):
            return True
        is_option = self._at_end and OPTION.match(self._text, self._found[count].start())
        return bool(is_option)


def _cut_one(prompts: list[str], at_end: bool) -> bool:
    """Cut one instruction off all prompts that have it; whether there was one."""
    edges = [_Edge(prompt, at_end) for prompt in prompts]
    least = max(SHARED * len(prompts), MIN_PROBLEMS)
    for rows in _by_token(edges, range(len(edges)), 0):
        groups = _sharing(edges, rows, least)
        count = _length(edges, groups, at_end)
        if not count:
            continue
        rests = {row: edges[row].rest(count) for row in groups[count - 1]}
        words = split_words(list(rests.values()))
        if 2 * ((words.counts >= MIN_WORDS) & (count_named(words) > 0)).sum() > len(rests):
            for row, text in rests.items():
                prompts[row] = text or prompts[row]
            return True
    return False


def _by_token(edges: Sequence[_Edge], rows: Sequence[int], place: int) -> list[list[int]]:
    """Those that have one token at a place together, the most first."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if len(edges[row].tokens) > place:
            groups[edges[row].tokens[place]].append(row)
    return sorted(groups.values(), key=len, reverse=True)


def _sharing(edges: Sequence[_Edge], rows: list[int], least: float) -> list[list[int]]:
    """Who shares the first token with so many others, who the first two, .., without a question."""
    groups: list[list[int]] = []
    while len(rows) >= least and not edges[rows[0]].asks(len(groups)):
        groups.append(rows)
        rows = next(iter(_by_token(edges, rows, len(groups))), [])
    return groups


def _length(edges: Sequence[_Edge], groups: list[list[int]], at_end: bool) -> int:
    """How many of the shared tokens are an instruction."""
    if not groups:
        return 0
    enough = len(groups[min(LONG, len(groups)) - 1]) / 2  # what few add is of their questions
    groups = [rows for rows in groups if len(rows) > enough]
    count = max(
        (
            number
            for number, rows in enumerate(groups, 1)
            if 2 * sum(edges[row].is_break(number) for row in rows) > len(rows)
        ),
        default=0,
    )
    more = edges[groups[-1][0]].tokens[count : len(groups)]
    is_asked = not at_end and edges[groups[-1][0]].asks(len(groups))
    is_long = sum(token[0].isalnum() for token in more) >= LONG
    return len(groups) if is_long and not is_asked else count
