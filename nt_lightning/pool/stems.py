"""A benchmark's question without its label and options, and with them as others write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from nt_lightning.pool.overlap.instructions import OPTION

HEADERS = ("", "Options:", "Choices:", "Answer choices:")  # in front of options (our choice)
_LABEL = re.compile(r"\A\s*(?:question|problem|q)\s*[:.]\s+", re.IGNORECASE)
_ANSWER = re.compile(r"\s*answer\s*:?\s*", re.IGNORECASE)


class Asked(NamedTuple):
    """A question and its options, none where its text lists none."""

    stem: str
    options: Sequence[str]


def split_options(question: str) -> Asked:
    """A question without a label in front, and the options A, B, .. behind it.

    They are options where nothing but them follows, one a line: in "Two boxes: A. has 3 balls,
    B. has 2, one is drawn ..." they belong to the question.
    """
    text = _LABEL.sub("", question, count=1)
    lines = text.splitlines()
    for first, line in enumerate(lines):
        found = OPTION.fullmatch(line)
        if found and found[1] == "A" and "".join(lines[:first]).strip():
            options = _option_texts(lines[first:])
            if options:
                return Asked("\n".join(lines[:first]).strip(), options)
    return Asked(text.strip() or question, [])


def notations(stem: str, options: Sequence[str]) -> list[str]:
    """A question with its options as others write them: bare, with numbers, with letters.

    Signs do not count where texts are compared: ``A) x``, ``(A) x``, ``a. x`` and ``- A: x`` are
    one. Which words may stand in front of the options is our choice.
    """
    marks: list[Sequence[str]] = [[""] * len(options), [str(n + 1) for n in range(len(options))]]
    if len(options) <= len(ascii_uppercase):
        marks.append(ascii_uppercase[: len(options)])
    listed = [
        "\n".join(f"{mark} {text}" for mark, text in zip(own, options, strict=True))
        for own in marks
    ]
    return [f"{stem}\n{header}\n{lines}" for header in HEADERS for lines in listed]


def _option_texts(lines: Sequence[str]) -> list[str]:
    """Texts of the lines A, B, ..; nothing where there is another line among them."""
    filled = [line for line in lines if line.strip()]
    if _ANSWER.fullmatch(filled[-1]):
        filled.pop()
    found = [one for one in map(OPTION.fullmatch, filled) if one]
    is_list = 1 < len(found) == len(filled)
    is_list = is_list and ascii_uppercase.startswith("".join(one[1] for one in found))
    return [one[2].strip() for one in found] if is_list else []
