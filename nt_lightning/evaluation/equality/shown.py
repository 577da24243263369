"""The options that a question shows, and references that are the letter of one."""

from __future__ import annotations

import re

from nt_lightning.evaluation.equality.texts import normalised, unwrapped

# (A), A), A., A: and \textbf{(A)}, at the begin of a line or behind a blank
_LABEL = re.compile(
    r"(?:^|(?<=[\s{*(]))\(?(?P<letter>[A-J])(?P<style>\)|[.:](?=\**(?:\s|$)))[*}]*[ \t\\]*",
    re.MULTILINE,
)
_LETTER = re.compile(r"\(?(?P<letter>[A-J])\)?[.:)]?")
_LETTER_AND_TEXT = re.compile(r"\(?(?P<letter>[A-J])[).:]\s+(?P<text>\S.*)", re.DOTALL)
_ENDS_OPTION = re.compile(r"\n|\\(?:qquad|quad)|\$?\s*\$?\\textbf\{$|\$\s*$")
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)  # its points are labelled too


def options_of(question: str) -> dict[str, str]:
    """Letters and texts of the options that a question shows; empty for fewer than two.

    They are labelled A, B, C and so on, in this order and in one style; of several such lists the
    longest counts, since an option may hold a list of its own.
    """
    question = _DRAWING.sub("", question)
    lists: list[list[re.Match[str]]] = []
    open_lists: dict[str, list[re.Match[str]]] = {}
    for match in _LABEL.finditer(question):
        style, letter = match["style"], match["letter"]
        labels = open_lists.get(style, [])
        if labels and ord(letter) == ord(labels[-1]["letter"]) + 1:
            labels.append(match)
        elif letter == "A":
            open_lists[style] = [match]
            lists.append(open_lists[style])
    found = max(lists, key=len, default=[])
    found = found if len(found) > 1 else []
    bounds = [*found, None]
    return {
        match["letter"]: _text(question[match.end() : behind.start() if behind else None])
        for match, behind in zip(found, bounds[1:], strict=True)
    }


def option_letter(reference: str, options: dict[str, str]) -> str | None:
    """The option that a reference is: its letter, alone or in front of its text."""
    plain = unwrapped(reference).strip(" *")
    match = _LETTER.fullmatch(plain)
    if match is None:
        match = _LETTER_AND_TEXT.fullmatch(plain)
        same = match and normalised(options.get(match["letter"], "")) == normalised(match["text"])
        match = match if same else None
    return match["letter"] if match and match["letter"] in options else None


def letter_of_text(text: str, options: dict[str, str]) -> str | None:
    """The one option that has a text."""
    wanted = normalised(text)
    letters = [letter for letter, option in options.items() if normalised(option) == wanted]
    return letters[0] if wanted and len(letters) == 1 else None


def _text(option: str) -> str:
    """An option without what separates it from the next: its line, up to the next blank space."""
    option = option.strip()
    end = _ENDS_OPTION.search(option)
    return (option[: end.start()] if end else option).rstrip(" ,;\\~")
