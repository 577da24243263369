"""What of a benchmark's prompt is the question: without instructions, labels and options."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_LABEL = re.compile(r"\A\s*(?:question|problem|q)\s*[:.]\s+", re.IGNORECASE)
_FIRST_OPTION = re.compile(r"^\s*\(?A[).:]\s", re.MULTILINE)
_SECOND_OPTION = re.compile(r"^\s*\(?B[).:]\s", re.MULTILINE)
MIN_PROBLEMS = 5  # fewer may begin or end alike by chance (our choice)


def without_instructions(prompts: Sequence[str]) -> list[str]:
    r"""Prompts without the first and last lines that more than half of them share.

    A leak has the question in it, rarely ``Put your final answer within \boxed{}.`` as well.
    """
    if len(prompts) < MIN_PROBLEMS:
        return list(prompts)
    split = [[line for line in prompt.splitlines() if line.strip()] for prompt in prompts]
    for end in (0, -1):
        while True:
            edges = Counter(lines[end] for lines in split if len(lines) > 1)
            shared = {line for line, count in edges.items() if 2 * count > len(split)}
            if not shared:
                break
            for lines in split:
                if len(lines) > 1 and lines[end] in shared:
                    lines.pop(end)
    return ["\n".join(lines) for lines in split]


def stem_of(question: str) -> str:
    """A question without a label in front and without the options A, B, .. behind."""
    text = _LABEL.sub("", question, count=1)
    first = _FIRST_OPTION.search(text)
    if first and text[: first.start()].strip() and _SECOND_OPTION.search(text, first.end()):
        text = text[: first.start()]
    return text.strip() or question
