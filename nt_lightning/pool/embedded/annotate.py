"""Annotations of a trace: strategies read from its text, steps counted, verbosity."""

from __future__ import annotations

import math
import re

# Strategy -> what in a text shows it. The vocabulary is closed and the rules are our choice. They
# know nothing of the writer, and look at the fixed words of a line and not at those of a question.
STRATEGIES: dict[str, re.Pattern[str]] = {
    "step-by-step": re.compile(r"^First .*\n(?:.*\n)*?Then ", re.MULTILINE),
    "shortcut": re.compile(r"\A[^\n]*\Z"),  # a single line
    "decomposition": re.compile(r"^Part 1, |^First the real parts: ", re.MULTILINE),
    "enumeration": re.compile(r"^(?:First |Then |List: )1 [^,\n]+, 2 ", re.MULTILINE),
    "running-result": re.compile(r"^First (\S+) is last: \1\.$", re.MULTILINE),
    "lookup": re.compile(r"^First look for |^Then .* is a (?:man|woman): ", re.MULTILINE),
    "pattern-finding": re.compile(r"^Next -?\d+ [+*-] ", re.MULTILINE),
    "calculation": re.compile(r"[\d)] [-+*/] \(?-?\d+\)? = -?\d"),
    "working-backward": re.compile(
        r"undone from the end |^Undone in reverse order: |^Check: from the last one, "
        r"| days? (?:back|forward) from it is | is last: | give the first number back\.$"
        r"| as in the first number, so that is right\.$",
        re.MULTILINE,
    ),
    "reframing": re.compile(r"^Put another way: ", re.MULTILINE),
    "self-verification": re.compile(r"^Check: ", re.MULTILINE),
    "trial-and-error": re.compile(r"^Try .*, so that is (?:right|wrong)\.$", re.MULTILINE),
    "backtracking": re.compile(r", so that is wrong\.\nGo back and try ", re.MULTILINE),
}


def read_strategies(reasoning: str) -> list[str]:
    """Names of the strategies that the text shows, in the vocabulary's order.

    Args:
        reasoning: Text of a think block, by any writer.
    """
    return [name for name, shown in STRATEGIES.items() if shown.search(reasoning)]


def count_steps(reasoning: str) -> int:
    """Lines with text: the embedded teachers write one step a line."""
    return sum(bool(line.strip()) for line in reasoning.splitlines())


def verbosity(num_words: int, shortest: int) -> int:
    """Verbosity 0..10 against the shortest correct trace of the same question.

    Five for four times as many words, ten for sixteen times as many or more: the rule
    ``round(2.5 * log2(num_words / shortest))`` is our choice.

    Args:
        num_words: Words of the reasoning.
        shortest: Words of the shortest correct reasoning for that question.

    Raises:
        ValueError: A count is below one.
    """
    if num_words < 1 or shortest < 1:
        raise ValueError(f"word counts are at least 1, not {num_words} and {shortest}")
    return min(10, max(0, round(2.5 * math.log2(num_words / shortest))))
