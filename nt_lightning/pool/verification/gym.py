"""Questions of reasoning-gym, made again from what their rows say, and judged by its scorers.

A row says it in a column ``reasoning_gym``, as JSON text or as an object: ``{"config": {"seed": 45,
"size": 50, ...}, "index": 3}``, with ``family`` where ``source`` is not ``reasoning_gym/FAMILY``.
Rows of the embedded pool and of its held-out questions say it in their ids.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nt_lightning.evaluation.equality.verdict import REASONING_GYM, Verdict, undecided
from nt_lightning.evaluation.extraction import extract
from nt_lightning.pool.verification.announced import answer_block

COLUMN = "reasoning_gym"
SOURCE = "reasoning_gym/"
RIGHT_SCORE = 0.99  # below it reasoning-gym gives partial credit
# Scorers that run an answer as a program: the first only want a list of it, and get no more.
EVALUATING = ("string_insertion", "spiral_matrix", "binary_matrix", "n_queens")
PARSING = frozenset(
    {
        "simple_integration",
        "intermediate_integration",
        "polynomial_multiplication",
        "puzzle24",
        "countdown",
    }
)
REWORDED = frozenset({"spiral_matrix"})  # before reasoning-gym 0.1.25
_HARMLESS = frozenset({"abs", "max", "min", "pow", "round", "sum"})
_UNSAFE = re.compile(r"__|['\"]|\.\s*[A-Za-z_]|\b(?:lambda|sympify|parse_expr)\b")
_ID = re.compile(
    r"(?P<family>[a-z0-9_]+)-(?P<level>easy|medium|hard)-(?P<seed>-?\d+)"
    r"-(?P<held_out>held-out-)?(?P<index>\d{5,})(?!\d)"
)
_PROSE = re.compile(r"[^\W\d_]{2}")
_DATUM = re.compile(r"\w")
_DRAWS_PER_QUESTION, _MORE_DRAWS = 40, 5_000  # how far to look for a question (our choice)

Entry = dict[str, Any]


class Made(NamedTuple):
    """A question made again, and what scores its answers."""

    family: str
    entry: Entry
    score: Callable[[str, Entry], float]


def is_gym(row: dict[str, Any]) -> bool:
    """Whether a row's question comes from reasoning-gym."""
    return str(row.get("source") or "").startswith(SOURCE) or row.get(COLUMN) is not None


def judge_gym(row: dict[str, Any]) -> Verdict:
    """The verdict of the family's own scorer: a score of 0.99 and more is right.

    Args:
        row: ``id``, ``question``, ``answer``, ``source``, ``reasoning_gym`` and, where it is there,
            ``reference_answer`` of a trace.
    """
    made = _made_again(row)
    if isinstance(made, Verdict):
        return made
    answer, is_announced = gym_answer(row["answer"])
    if answer is None:
        return undecided("no answer")
    if not is_safe(made.family, answer):
        return undecided("unsafe" if is_announced else "no answer")
    is_right = float(made.score(answer, made.entry)) >= RIGHT_SCORE
    return Verdict(is_right, REASONING_GYM) if is_right or is_announced else undecided("no answer")


def gym_answer(text: str) -> tuple[str | None, bool]:
    """What a scorer gets, and whether it is announced.

    That is the last ``<answer>`` block; without one what is announced, else all of the text, since
    many answers have several lines. A text of one line counts as announced.
    """
    if (block := answer_block(text)) is not None:
        return block or None, True
    if "<answer>" in text:
        return None, False  # cut off
    found = extract(text, "exact")
    if found.rule != "last_line":
        return found.answer, found.answer is not None
    return text.strip(), "\n" not in text.strip()


def is_safe(family: str, answer: str) -> bool:
    """Whether an answer can be given to a scorer that has sympy evaluate it as Python."""
    if family not in PARSING:
        return True
    names = set(re.findall(r"[A-Za-z_]\w*", answer))
    return not _UNSAFE.search(answer) and names.isdisjoint(set(dir(builtins)) - _HARMLESS)


def _made_again(row: dict[str, Any]) -> Made | Verdict:
    """The question of a row, or why there is none."""
    given = row.get(COLUMN)
    if given is None:
        return _embedded(row)
    try:
        said = json.loads(given) if isinstance(given, str) else given
        family = str(said.get("family") or str(row.get("source") or "").removeprefix(SOURCE))
        config = {key: value for key, value in said["config"].items() if value is not None}
        index = int(said["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return undecided("no config")
    if family not in _families() or index < 0:
        return undecided("no config")
    made = _made(family, json.dumps(config, sort_keys=True), index)
    same = is_same_question(row["question"], row.get("reference_answer"), made)
    return made if same else undecided("question differs")


def is_same_question(question: str, reference: str | None, made: Made) -> bool:
    """Whether a question is the one made again, or has only the words of another version.

    The latter is certain for a family that was reworded and whose questions have one answer, where
    that is the reference and the data, lines without prose, are the same.
    """
    entry = made.entry
    texts = question.strip(), entry["question"].strip()
    if texts[0] == texts[1]:
        return True
    if made.family not in REWORDED or entry["answer"].strip() != (reference or "").strip():
        return False
    data = [[line.strip() for line in text.split("\n") if _is_data(line)] for text in texts]
    return data[0] == data[1] != []


def _is_data(line: str) -> bool:
    return _PROSE.search(line) is None and _DATUM.search(line) is not None


@functools.cache
def _families() -> frozenset[str]:
    """Names of reasoning-gym's families; the scorers that evaluate lists are bound first."""
    from reasoning_gym.factory import DATASETS

    for name in EVALUATING:
        module = importlib.import_module(DATASETS[name][0].__module__)
        module.eval = ast.literal_eval  # type: ignore[attr-defined]
    return frozenset(DATASETS)


@functools.lru_cache(maxsize=256)  # the traces of a question stand together
def _made(family: str, config: str, index: int) -> Made:
    dataset = _dataset(family, config)
    return Made(family, dataset[index], dataset.score_answer)


@functools.lru_cache(maxsize=128)
def _dataset(family: str, config: str) -> Any:
    from reasoning_gym import create_dataset

    return create_dataset(family, **json.loads(config))


def _embedded(row: dict[str, Any]) -> Made | Verdict:
    """The question that an id of the embedded pool stands for."""
    from nt_lightning.pool.embedded import FAMILIES

    found = _ID.match(row["id"])
    if found is None or found["family"] not in FAMILIES:
        return undecided("no config")
    family, held_out = found["family"], found["held_out"] is not None
    draws = _draws(family, found["level"], int(found["seed"]), held_out)
    entry = draws.find(row["question"], int(found["index"]))
    if entry is None:
        return undecided("question differs")
    return Made(family, entry, FAMILIES[family].scorer)


@functools.cache
def _draws(family: str, level: str, seed: int, held_out: bool) -> Draws:
    from nt_lightning.pool.embedded import FAMILIES
    from nt_lightning.pool.embedded.questions import item_random

    first = item_random(seed, family, level, held_out).randrange(2**31)
    return Draws(FAMILIES[family].generate(level, first))


class Draws:
    """Entries of the embedded pool's generator, by their questions.

    Which of them became the pool's question of an index depends on the pool's size, so the
    question itself is looked for, among as many as an index may have taken.

    Args:
        entries: The generator.
    """

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._by_question: dict[str, Entry] = {}
        self._num_draws = 0

    def find(self, question: str, index: int) -> Entry | None:
        """The entry with a question; ``None`` where there is none."""
        limit = _DRAWS_PER_QUESTION * (index + 1) + _MORE_DRAWS
        while question not in self._by_question and self._num_draws < limit:
            entry = next(self._entries)
            self._num_draws += 1
            self._by_question.setdefault(entry["question"], entry)
        return self._by_question.get(question)
