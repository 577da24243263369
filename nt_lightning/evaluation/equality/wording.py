"""Words beside a number: those that leave it as it is, and those that may change it.

``5 apples`` is 5 and ``5 squared``, ``at most 5`` and ``not 5`` are not. No list holds all that can
be done to a number, so it is the other way round: a number is sure where every word beside it is
plain, a unit, or a word of the question.
"""

from __future__ import annotations

import functools
import re
from itertools import pairwise

from nt_lightning.evaluation.equality.texts import NUMBER_WORDS, in_text, name_set, unwrapped

_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]+(?:['’][^\W\d_]+)*")
_COMMAND = re.compile(r"\\[A-Za-z]+|\b[A-Za-z](?=\s*[(=])")  # and the f of f(3)
_TIMES = re.compile(r"(?<=[\s\d])x(?=\s*[$\d])")
_MONTH = re.compile(r"(?<=[a-z] )May\b")
_PERCENT = re.compile(r"%|\b(?:percent|rate\b)", re.I)
_POSSESSIVE = re.compile(r"['’]s?$")
_ENDING = re.compile(r"(?:ing|ies|ed|es|s|y|e)$")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
_LONGEST_STEM = 6  # letters (our choice)

# Our choice, after the sentences in which five teachers answer GSM8K.
PLAIN = name_set(
    "a an the this that these those it its he she they his her him their them we us our you "
    "your i my me who which there each every all both of in on at to for from by with per as "
    "after before during when since so then thus therefore hence finally also now still "
    "currently just exactly only and altogether together overall total sum number amount "
    "average answer result value final solution conclusion approximately approx about around "
    "roughly left remaining additional combined apart compared original originally next new "
    "last same already needed start starts started is are was were be been being am has have "
    "had having will would should must can do does did need needs take takes took taken make "
    "makes made get gets got give gives gave given pay pays paid cost costs spend spends "
    "spent earn earns earned buy buys bought sell sells sold eat eats ate drink drinks drank "
    "drive drives drove go goes went run runs ran use uses used receive receives received "
    "contain contains equal equals find finds found throw throws threw lose loses lost win "
    "wins won bring brings brought keep keeps kept send sends sent mean means including "
    "indeed here shown required"
)
UNITS = name_set(
    "second seconds sec minute minutes min hour hours hr hrs day days week weeks month months year "
    "years decade decades century centuries mm cm dm m km millimeter millimeters centimeter "
    "centimeters meter meters metre metres kilometer kilometers kilometre kilometres inch inches "
    "foot feet ft yard yards yd mile miles mi mg g kg gram grams milligram milligrams kilogram "
    "kilograms ounce ounces oz lb lbs ton tons tonne tonnes ml dl l liter liters litre litres "
    "milliliter milliliters gallon gallons quart quarts pint pints tablespoon tablespoons teaspoon "
    "teaspoons dollar dollars usd cent cents euro euros pound pounds yen rupee rupees degree "
    "degrees deg celsius fahrenheit kelvin radian radians rad square squares cubic unit units sq "
    "cu mph kmh kph newton newtons joule joules watt watts volt volts amp amps ampere amperes "
    "ohm ohms pascal pascals hertz mol mole moles kcal calorie calories bit bits byte bytes ms ns "
    "hz khz mhz n j kj mj w kw mw v kv mv c f k pa kpa ma ev kn people person way ways"
)
# These deny what is said or leave a choice, wherever they stand.
NEGATIONS = name_set(
    "no not never cannot nor neither none nothing nobody hardly scarcely barely nearly almost "
    "maybe perhaps possibly probably might may either or but except however although wrong "
    "incorrect false without instead"
)
CONDITIONS = name_set("if unless whether")
# These make another number of one, in front of it or anywhere behind it.
CHANGES = name_set(
    "minus negative plus squared cubed factorial root remainder modulo percent power reciprocal"
)
# These compare: sure behind a number where the question asks for a difference.
COMPARISONS = name_set("more less fewer than greater least most times")
# These belong to something else unless they stand beside the number.
OPERATORS = NUMBER_WORDS | name_set(
    "could over under below above between up down until against maximum minimum square cube cubic "
    "quarters halves thirds fourths fifths"
)
_CARDINALS = name_set(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_DETERMINERS = name_set("the these those all each every both her his their")  # the three friends
_RESULT = re.compile(r"\d[^\d=]*[-−+*/×÷x][^\d=]*\d[^=]*=[^\w=]*$")  # 20 bags * 7 = $
_NEAR_FRONT, _NEAR_BACK = 4, 2  # words (our choice)


class Asked:
    """Words of a question and its reference; found when they are needed, which is seldom.

    Args:
        question: The question.
        gold: The reference.
    """

    def __init__(self, question: str, gold: str = "") -> None:
        self._question, self._gold = question, gold

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """All, in small letters."""
        return frozenset((*_words(self._question), *_words(self._gold)))

    @functools.cached_property
    def stems(self) -> frozenset[str]:
        """All, without endings."""
        return frozenset(_stem(word) for word in self.words)

    @functools.cached_property
    def at_last(self) -> frozenset[str]:
        """Those of the reference and of the sentences that ask."""
        sentences = [one for one in _SENTENCE.split(self._question) if one.strip()]
        asking = [one for one in sentences if "?" in one] or sentences[-1:]
        return frozenset((*_words(" ".join(asking)), *_words(self._gold)))

    @functools.cached_property
    def in_percent(self) -> bool:
        """Whether it is about percentages."""
        return _PERCENT.search(f"{self._question} {self._gold}") is not None


def is_plain(before: str, behind: str, said: Asked) -> bool:
    """Whether no word in front of a number or behind it may change it.

    Negations and conditions count wherever they stand; other words count near the number, and in
    front of it only where it is not the result of a calculation.
    """
    front, back = _words(before), _words(behind)
    if not front and not back:
        return True
    is_result = "=" in before and _RESULT.search(before) is not None
    near = [] if is_result else front[-_NEAR_FRONT:]
    near = [word for before, word in pairwise(["", *near]) if not _counts(before, word)] + near[-1:]
    if not all(_leads(word, said, is_last=word is near[-1]) for word in near):
        return False
    if not CHANGES.isdisjoint(back) or not (OPERATORS - PLAIN - UNITS).isdisjoint(back[:1]):
        return False
    if not COMPARISONS.isdisjoint(back) and not _asks_difference(back, said):
        return False
    if not all(_is_known(word, said) for word in back[:_NEAR_BACK]):
        return False
    return _is_affirmed(front, back, said, is_result=is_result)


def _counts(before: str, word: str) -> bool:
    """Whether a number in letters counts a group: ``the three friends``, not ``one over``."""
    return word in _CARDINALS and before in _DETERMINERS


def _asks_difference(back: list[str], said: Asked) -> bool:
    """Whether a question asks for what is more or less, or farther and the like."""
    comparing = COMPARISONS | {word for word in back if word.endswith("er")}
    return not comparing.isdisjoint(said.at_last)


def _leads(word: str, said: Asked, *, is_last: bool) -> bool:
    """Whether a word may stand in front of a number, ``is_last``: directly."""
    if word in CHANGES or word in COMPARISONS or word in NUMBER_WORDS - PLAIN:
        return False
    if word in OPERATORS:
        return word in said.words and not is_last
    return _is_known(word, said) and not (is_last and word in UNITS - PLAIN - said.words)


def _is_affirmed(front: list[str], back: list[str], said: Asked, *, is_result: bool) -> bool:
    """Whether a sentence says what it says: not denied, on no condition but the question's own."""
    if any(_denies(word) for word in front):
        return False
    if not (is_result or said.words.issuperset(CONDITIONS.intersection(front))):
        return False
    limits = {word for word in back if word in CONDITIONS or _denies(word)}
    if not (said.at_last | {"if"}).issuperset(limits):
        return False
    return not limits or all(_is_known(word, said) for word in (*front, *back))


def _denies(word: str) -> bool:
    return word in NEGATIONS or word.endswith(("n't", "n’t"))


def _is_known(word: str, said: Asked) -> bool:
    return word in PLAIN or word in UNITS or word in said.words or _stem(word) in said.stems


def is_plain_beside(latex: str, said: Asked) -> bool:
    r"""The same for what stands in ``\text{}`` beside mathematics; ``and`` and ``or`` list."""
    inside = [one for one in in_text(latex) if one.strip(" ,") not in ("and", "or", "")]
    return is_plain("", " ".join(inside), said)


def changing(text: str) -> frozenset[str]:
    """Words of a text that change its number."""
    found = frozenset(_words(text)) - {"or"}
    return found & (NEGATIONS | CONDITIONS | CHANGES | COMPARISONS | OPERATORS)


def _words(text: str) -> list[str]:
    if not _LETTER.search(text):
        return []
    plain = _MONTH.sub("", _TIMES.sub("*", _COMMAND.sub(" ", unwrapped(text, gap=" "))))
    return [word.lower() for word in _WORD.findall(plain)]


def _stem(word: str) -> str:
    return _ENDING.sub("", _POSSESSIVE.sub("", word))[:_LONGEST_STEM]
