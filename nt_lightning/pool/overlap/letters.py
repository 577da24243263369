"""Letters as they are compared: without case, accents, compatibility forms and punctuation."""

from __future__ import annotations

import unicodedata
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Kinds = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

CODE_POINTS = 0x110000
APOSTROPHES = "'’ʼ`"  # "Janet's" and "Janets" are one word
OPERATORS = {
    **dict(zip("+-*/=<>^", "+-*/=<>^", strict=True)),
    **dict.fromkeys("−–‐‑", "-"),
    **dict.fromkeys("×·∙⋅", "*"),
    **dict.fromkeys("÷⁄∕", "/"),
    "≤": "<",
    "≥": ">",
}
# written without blanks, so that each character is a word (our choice)
WITHOUT_BLANKS = ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF), (0x20000, 0x3FFFF))


class Kind(IntEnum):
    """What a character does to words."""

    UNSEEN = 0
    BREAK = 1  # ends a word
    JOIN = 2  # is left out without ending one
    OPERATOR = 3  # ends a word and is, where asked for, one itself
    LETTER = 4
    ALONE = 5  # a letter that is a word
    SEVERAL = 6  # stands for several letters


class Folded:
    """Characters as they are compared, [C]; a ligature is several.

    Args:
        kinds: Kind of each.
        codes: Code point of each.
        table: Letter of every code point.
        places: Which character of the text each comes from; ``None``: they are those of the text.
    """

    def __init__(self, kinds: Kinds, codes: Codes, table: Codes, places: Ints | None) -> None:
        self.kinds, self.places = kinds, places
        self._codes, self._table = codes, table

    def letters(self, found: Ints) -> Codes:
        """Letters of some of the characters."""
        return self._table[self._codes[found]]


class Folding:
    """A table of all characters, filled where they are met: most of them never are."""

    def __init__(self) -> None:
        self._kinds = np.zeros(CODE_POINTS, dtype=np.uint8)
        self._letters = np.arange(CODE_POINTS, dtype=np.uint32)
        self._several: dict[int, str] = {}

    def fold(self, codes: Codes) -> Folded:
        """Kind and letter of every code point, [C]."""
        kinds = self._kinds_of(codes)
        places = None
        if (several := kinds == Kind.SEVERAL).any():
            spelled = [self._several[code] for code in codes[several].tolist()]
            counts = np.ones(len(codes), dtype=np.int64)
            counts[several] = [len(letters) for letters in spelled]
            places = np.repeat(np.arange(len(codes)), counts)
            codes = codes[places]
            codes[several[places]] = codes_of("".join(spelled))
            kinds = self._kinds_of(codes)
        return Folded(kinds, codes, self._letters, places)

    def _kinds_of(self, codes: Codes) -> Kinds:
        kinds = self._kinds[codes]
        if not kinds.all():
            for code in np.unique(codes[kinds == Kind.UNSEEN]).tolist():
                kind, letters = _fold_character(chr(code))
                self._kinds[code] = kind
                if kind == Kind.SEVERAL:
                    self._several[code] = letters
                elif letters:
                    self._letters[code] = ord(letters)
            kinds = self._kinds[codes]
        return kinds


def codes_of(text: str) -> Codes:
    """Code points of a text; a lone surrogate, which JSON may hold, is one too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _fold_character(character: str) -> tuple[Kind, str]:
    if character in APOSTROPHES:
        return Kind.JOIN, ""
    form = unicodedata.normalize("NFKC", character)
    if operator := OPERATORS.get(character) or OPERATORS.get(form):
        return Kind.OPERATOR, operator
    form = unicodedata.normalize("NFKC", form.casefold())
    letters = "".join(_without_marks(one) for one in form if one.isalnum())
    if not letters:
        joins = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        return (Kind.JOIN if joins else Kind.BREAK), ""
    if len(letters) > 1:
        return Kind.SEVERAL, letters
    code = ord(letters)
    alone = any(first <= code <= last for first, last in WITHOUT_BLANKS)
    return (Kind.ALONE if alone else Kind.LETTER), letters


def _without_marks(letter: str) -> str:
    """``é`` as ``e``; a Korean syllable, which falls into letters, stays whole."""
    parts = unicodedata.normalize("NFD", letter)
    return parts[0] if all(map(unicodedata.combining, parts[1:])) else letter
