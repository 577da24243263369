"""Step splitters: where the steps of a response begin, and which tokens belong to which step.

A splitter cuts a text into spans of characters that cover it. ``step_lengths`` then gives every
token of the response, tokenised once as a whole, to the step in which its first character lies.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nt_lightning.errors import UserError

# Fewer characters that are not blank are no step of their own: "1.", "Mr.", "---" without one dash.
MIN_CHARACTERS = 4
# How far an opened formula may reach: an unclosed one protects nothing, and costs no more.
MAX_FORMULA = 2000

_SENTENCE_END = re.compile(r"(?<=[.!?])(?=[^\S\n]+\S)|(?<=\n)(?!(?:[^\S\n]*\n))")
_LINES_END = re.compile(r"(?<=\n)(?!(?:[^\S\n]*\n))")
_WHOLE = re.compile(
    # CommonMark's rule keeps "fun~~~" and "```x``` is" from opening a block; one that is never
    # closed runs to the end, and any fence that is as long closes it (our choice)
    r"^ {0,3}(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*?(?:^ {0,3}(?P=fence)|\Z)"
    r"|`[^`\n]+`"
    rf"|\$\$.{{1,{MAX_FORMULA}}}?\$\$"
    rf"|\\\[.{{1,{MAX_FORMULA}}}?\\\]"
    rf"|\\\(.{{1,{MAX_FORMULA}}}?\\\)"
    rf"|\\begin\{{(?P<env>\w+\*?)\}}.{{0,{MAX_FORMULA}}}?\\end\{{(?P=env)\}}"
    # Pandoc's rule keeps "$5. He has $6" from being a formula
    r"|(?<![\\$])\$(?=[^\s$])[^$\n]*(?<=\S)\$(?!\d)",
    re.DOTALL | re.MULTILINE,
)

Span = tuple[int, int]


class StepHints(NamedTuple):
    """What a splitter may want to know besides the text.

    Args:
        token_starts: First character of every token, not decreasing.
        step_starts: The column ``step_starts``: characters of the reasoning.
        reasoning: Span of the reasoning in the text; empty where there is none.
    """

    token_starts: Sequence[int] = ()
    step_starts: Sequence[int] | None = None
    reasoning: Span = (0, 0)


class NoStepsError(UserError):
    """A response cannot be cut; the others can, so that this one stays without scores."""


class StepSplitter(ABC):
    """Cuts a response into steps."""

    @abstractmethod
    def spans(self, text: str, hints: StepHints = StepHints()) -> list[Span]:
        """Consecutive spans (start, end) that cover ``text``; none of them is empty.

        Raises:
            NoStepsError: This response cannot be cut; the reason is kept beside it.
        """


class SentenceSteps(StepSplitter):
    """Sentences and paragraphs, the default.

    A step ends after ``. ! ?`` before blanks and something that is not blank on the same line, and
    after a run of newlines. The blanks in front of a sentence belong to it. Code, decimals and
    LaTeX stay whole; a fragment of fewer than four characters that are not blank joins the next
    step (the last one the step before).

    Source: v1 of Local Naturalness (arXiv:2510.03988) has sentences; the rule is our choice.
    """

    def spans(self, text: str, hints: StepHints = StepHints()) -> list[Span]:
        """See ``StepSplitter``."""
        cuts = [match.start() for match in _SENTENCE_END.finditer(text)]
        whole = [match.span() for match in _WHOLE.finditer(text)]
        return _merge_fragments(text, _outside(cuts, whole))


class NewlineSteps(StepSplitter):
    """Paragraphs and lines: a step ends after a run of newlines, even in a code block."""

    def spans(self, text: str, hints: StepHints = StepHints()) -> list[Span]:
        """See ``StepSplitter``."""
        return _merge_fragments(text, [match.start() for match in _LINES_END.finditer(text)])


class FixedTokenSteps(StepSplitter):
    """Steps of the same number of tokens; the last one may be shorter.

    A character is never cut: where a step would begin inside one, it begins with its first token.

    Args:
        size: Tokens of a step.

    Raises:
        UserError: ``size`` is below 1.
    """

    def __init__(self, size: int = 64) -> None:
        if size < 1:
            raise UserError(f"steps of {size} tokens; allowed: 1 and more")
        self.size = size

    def spans(self, text: str, hints: StepHints = StepHints()) -> list[Span]:
        """See ``StepSplitter``; needs ``hints.token_starts``."""
        return _spans_between(hints.token_starts[:: self.size], len(text))


class ColumnSteps(StepSplitter):
    """The annotated segments of the column ``step_starts``; the answer is one further step.

    Source: v2 of Local Naturalness (arXiv:2510.03988) has segments written by an LLM; that the
    answer is one step is our choice.
    """

    def spans(self, text: str, hints: StepHints = StepHints()) -> list[Span]:
        """See ``StepSplitter``; needs ``hints.step_starts`` and ``hints.reasoning``.

        Raises:
            NoStepsError: The column is null, or a step begins outside the reasoning (our choice:
                annotations of some responses fail, and stop none of the others).
        """
        if hints.step_starts is None or None in hints.step_starts:
            raise NoStepsError(
                "column 'step_starts' is null; `python -m nt_lightning pool annotate` writes it"
            )
        begin, end = hints.reasoning
        cuts = sorted({begin + start for start in hints.step_starts})
        if cuts and not begin <= cuts[0] <= cuts[-1] <= end:
            raise NoStepsError(
                f"column 'step_starts' has {min(hints.step_starts)} to {max(hints.step_starts)}; "
                f"the reasoning has {end - begin} characters"
            )
        return _spans_between([cut for cut in cuts if begin < cut < end] + [end], len(text))


def step_lengths(token_starts: Sequence[int], spans: Sequence[Span]) -> list[int]:
    """Tokens of each step, [p], none of them zero.

    A token belongs to the step in which its first character lies. A step in which no token begins
    is merged into the next: its characters belong to tokens of other steps.

    Args:
        token_starts: First character of every token of the response, [T], not decreasing.
        spans: The steps' characters, consecutive.

    Source: arXiv:2510.03988 is silent about seams; this is our choice.
    """
    starts = [start for start, _ in spans]
    lengths = [0] * max(1, len(spans))
    for token in token_starts:
        lengths[max(0, bisect_right(starts, token) - 1)] += 1
    return [length for length in lengths if length]


def _outside(cuts: Iterable[int], whole: Sequence[Span]) -> list[int]:
    """Cuts that are not inside one of the spans (their edges are outside)."""
    starts = [start for start, _ in whole]
    kept = []
    for cut in cuts:
        index = bisect_right(starts, cut) - 1
        if index < 0 or not whole[index][0] < cut < whole[index][1]:
            kept.append(cut)
    return kept


def _spans_between(cuts: Iterable[int], end: int) -> list[Span]:
    """Spans between cuts, 0 and ``end``; cuts ascend."""
    borders = [0]
    for cut in [*cuts, end]:
        if borders[-1] < cut <= end:
            borders.append(cut)
    return list(zip(borders, borders[1:], strict=False))


def _merge_fragments(text: str, cuts: Iterable[int]) -> list[Span]:
    """Spans between cuts; one with too few characters joins the next, the last one the former."""
    spans: list[Span] = []
    start = 0
    for _, end in _spans_between(cuts, len(text)):
        if len("".join(text[start:end].split())) >= MIN_CHARACTERS:
            spans.append((start, end))
            start = end
    if start < len(text):
        first = spans.pop()[0] if spans else start
        spans.append((first, len(text)))
    return spans
