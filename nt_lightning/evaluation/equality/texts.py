r"""What kind of text an answer is: words, mathematics, or names in ``\text{}``."""

from __future__ import annotations

import re


def name_set(names: str) -> frozenset[str]:
    """Names out of a text with blanks between them."""
    return frozenset(names.split())


_WRAPPED = re.compile(
    r"\\(?:text|mbox|hbox|mathrm|textrm|textbf|mathbf|textit|mathit|operatorname|textsf)"
    r"\s*\{([^{}]*)\}"
)
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[a-z*]+\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Written without a backslash these are mathematics all the same.
_FUNCTIONS = name_set(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt lim max min "
    "mod gcd lcm det pi inf infty theta alpha beta gamma lambda phi omega sigma"
)
# Other pairs of letters are products, as in "ab" and "dx".
_SHORT_WORDS = name_set("am an as at be by do he if in is it me my no of on or so to up us we")
_CONDITIONS = name_set("if where when otherwise for such unless")
_SIGN = re.compile(r"[\d=^+*/<>|≤≥∞√π±×·]|\\[A-Za-z]|[A-Za-z)]\s*[-−]\s*[A-Za-z(]")
_FOREIGN = re.compile(
    r"\\begin\s*\{(?![bpvBV]?matrix)|→|⇌"
    r"|\\(?:long)?(?:to|rightarrow|leftrightarrow|rightleftharpoons)(?![a-z])"
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?!\d)|\d\s*(?:[AaPp]\.?[Mm]|BCE?|AD)\b")
# To math-verify 0x10 is 0, 5+ is 5, 5–10 is -5, C(5,2) a product, and a cut-off decimal exact.
_MISREAD = re.compile(
    r"(?<![\w.])0[xXbBoO][0-9A-Fa-f]|(?:[-−+*/^]|\\(?:cdot|times|div))\s*\.?$|^\s*[*/^]|\d\s*(?:–|--+)\s*\d"
    r"|\d(?:st|nd|rd|th)\b|\d\s*/\s*\d+\s*/|(?<!\\)\b[A-Za-z]\([^()]*,|\.\.\.|…|\\[lc]?dots(?![a-z])"
)
_TWO_NUMBERS = re.compile(r"\d\s+\d(?!\d*\s*/)")  # "1 2" is 3 to math-verify; "1 1/2" is a number
_LONGEST_UNIT = 3  # words in \text{} beside mathematics (our choice)
_ELEMENTS = (
    "He|Li|Be|Ne|Na|Mg|Al|Si|Cl|Ar|Ca|Sc|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se|Br|Kr|Rb|Sr|Zr|Nb|Mo"
    "|Ag|Cd|In|Sn|Sb|Te|Xe|Cs|Ba|La|Ce|Pt|Au|Hg|Tl|Pb|Bi|Ra|Th|Pu|H|B|C|N|O|F|P|S|K|V|Y|I|W|U"
)
_FORMULA = re.compile(rf"\d*(?:\(?(?:{_ELEMENTS})\d*\)?\d*)+(?:\^?\d*[+-])?")

NUMBER_WORDS = name_set(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
    "eighty ninety hundred thousand million billion trillion dozen half third quarter fourth "
    "fifth tenth once twice thrice double triple none nothing nobody no nil null never both "
    "single pair couple all every many several few"
)
_YES_NO = re.compile(
    r"\W*(?:(?P<yes>yes|true)|no|false)\b(?=\W*$|\s*[,.;:!]|\s+(?:because|since|as)\b)", re.I
)
_TAKEN_BACK = re.compile(
    r"\b(?:but|however|although|though|except|unless|only|actually|sometimes|maybe|perhaps|depends"
    r"|if|yes|true|false|wrong|incorrect)\b|n['’]t\b",
    re.I,
)
_DENIED = re.compile(r"\b(?:no|not|never|neither|nor|cannot)\b", re.I)


def unwrapped(text: str, gap: str = "") -> str:
    r"""The text without ``$``, ``\(``, ``\[`` and the wrapping of ``\text{}``.

    Args:
        text: The text.
        gap: What stands in front of what was wrapped.
    """
    text = re.sub(r"\$|(?<!\\)\\[()\[\]]", "", text.replace("\\$", ""))
    return _WRAPPED.sub(lambda match: gap + match[1], text).strip()


def in_text(latex: str) -> list[str]:
    r"""What stands in ``\text{}`` and its relatives, without what is empty."""
    return [inside.strip() for inside in _WRAPPED.findall(latex) if inside.strip()]


def words(text: str) -> list[str]:
    """Words of a text outside LaTeX commands, in small letters; products are none."""
    found = (word.lower() for word in _WORD.findall(_COMMAND.sub(" ", text)))
    return [
        word for word in found if word in _SHORT_WORDS or (len(word) > 2 and word not in _FUNCTIONS)
    ]


def has_number_word(text: str) -> bool:
    """Whether a text says a number in letters or in digits."""
    is_said = not NUMBER_WORDS.isdisjoint(re.findall(r"[a-z]+", text.lower()))
    return is_said or re.search(r"\d", text) is not None


def is_mathematical(text: str) -> bool:
    r"""Whether a text is nothing but mathematics that math-verify can be trusted with.

    To math-verify ``no idea`` is a product of six letters and ``1 2`` a sum, so words, two numbers
    side by side, times of day, chemical formulas, cases and arrows are kept from it. A unit in
    ``\text{}`` may stand beside mathematics.
    """
    for inside in in_text(text):
        parts = words(inside)
        if len(parts) > _LONGEST_UNIT or not _CONDITIONS.isdisjoint(parts):
            return False
    outside = _WRAPPED.sub(" , ", text)
    if words(outside) or not _SIGN.search(outside) or _FOREIGN.search(outside):
        return False
    if _MISREAD.search(outside.strip(" $")):
        return False
    if _CLOCK.search(outside) or _TWO_NUMBERS.search(re.sub(r"\\[,;:! ]", "", outside)):
        return False
    return not is_chemical(text)


def is_numeric(text: str) -> bool:
    """Whether a text is mathematics of numbers alone: no letters, no words, no degrees."""
    has_letters = re.search(r"[^\W\d_]|°", _COMMAND.sub(" ", text)) is not None
    has_digits = re.search(r"\d", text) is not None
    return has_digits and not has_letters and "circ" not in text and is_mathematical(text)


def is_chemical(text: str) -> bool:
    """Whether a text is a chemical formula: two elements or more, or one with an index."""
    plain = _formula(text)
    if not _FORMULA.fullmatch(plain):
        return False
    elements = re.findall(_ELEMENTS, plain)
    return len(elements) > 1 or re.search(r"[A-Za-z]\d", plain) is not None


def yes_or_no(text: str) -> bool | None:
    """What a text says that begins with yes, true, no or false and a stop; ``None`` for others.

    ``Yes, but ...`` says neither, and ``Yes, it is not`` does not either.
    """
    plain = unwrapped(text)
    found = _YES_NO.match(plain)
    if found is None or _TAKEN_BACK.search(plain, found.end()):
        return None
    is_yes = found["yes"] is not None
    return None if is_yes and _DENIED.search(plain, found.end()) else is_yes


def normalised(text: str) -> str:
    """What two texts have in common that differ in case, blanks, marks or a leading article."""
    return _plain(text).casefold()


def same_text(left: str, right: str) -> bool | None:
    """Whether two texts say the same in the same words; ``None``: they differ in case alone.

    Case is nothing in words, but ``Aa`` is another genotype than ``AA``, and ``CO`` is no ``Co``.
    """
    if is_chemical(left) or is_chemical(right):
        return _formula(left) == _formula(right)
    if not normalised(left) or normalised(left) != normalised(right):
        return False
    return True if words(left) or _plain(left) == _plain(right) else None


def _formula(text: str) -> str:
    return re.sub(r"[_{}\s]", "", unwrapped(text))


def _plain(text: str) -> str:
    plain = re.sub(r"\*\*|[`\"“”{}]|\\[,;:! ]", "", unwrapped(text).replace("’", "'"))
    plain = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", plain)
    plain = re.sub(r"\s+", " ", plain).strip(" .,;:")
    plain = re.sub(r"^'(.*)'$|^\((.*)\)$", r"\1\2", plain)
    if " " in plain:  # n! is not n, nor is p' p or [x] x
        plain = plain.strip(" .,;:!?'()[]")
    return re.sub(r"^(?:the|a|an) ", "", plain, flags=re.I)
