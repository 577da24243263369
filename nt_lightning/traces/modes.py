"""Think modes: what is appended to a question, and what the response is begun with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.files import write_json

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
MODE_NAMES = ("no_think", "adaptive", "think")
THINK_MODES_FILE = "think_modes.json"  # in a folder that `export` wrote


@dataclass(frozen=True)
class ThinkMode:
    """One way of asking the student: the same object renders training and inference prompts.

    Args:
        name: ``no_think``, ``adaptive`` or ``think``.
        instruction: Text at the end of the question; ``{K}`` stands for a number of words.
        prefix: Text that inference puts at the start of the response; in training it is part of
            the labelled response instead.

    Source: NaturalThoughts (arXiv:2507.01921), section 3, for the three instructions and the
    prefill of Think; where they stand in training is our choice.
    """

    name: str
    instruction: str
    prefix: str = ""

    def user_text(self, question: str) -> str:
        """The user's message: the question, an empty line (our choice), the instruction."""
        return f"{question}\n\n{self.instruction}" if self.instruction else question

    def with_num_words(self, num_words: int) -> ThinkMode:
        """Fill ``{K}`` with a number of words."""
        return replace(self, instruction=self.instruction.replace("{K}", str(num_words)))


NO_THINK = ThinkMode("no_think", "Answer directly without thinking")
ADAPTIVE = ThinkMode("adaptive", "Think carefully before answering.")
THINK = ThinkMode(
    "think", "Think carefully before answering. Use about {K} words", prefix=THINK_OPEN
)


@dataclass(frozen=True)
class ThinkModes:
    """The three modes of one run, saved with its checkpoints and exported with its model."""

    no_think: ThinkMode = NO_THINK
    adaptive: ThinkMode = ADAPTIVE
    think: ThinkMode = THINK

    def __getitem__(self, name: str) -> ThinkMode:
        """The mode called ``name``.

        Raises:
            UserError: There is no such mode.
        """
        if name not in MODE_NAMES:
            raise UserError(f"unknown think mode {name!r}; allowed: {', '.join(MODE_NAMES)}")
        return getattr(self, name)  # type: ignore[no-any-return]

    def with_num_words(self, num_words: int) -> ThinkModes:
        """Fill ``{K}`` in every instruction."""
        return ThinkModes(*(self[name].with_num_words(num_words) for name in MODE_NAMES))

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Plain JSON, read back by ``from_dict``."""
        return {name: asdict(self[name]) for name in MODE_NAMES}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> ThinkModes:
        """Modes from ``to_dict``'s JSON.

        Raises:
            UserError: A mode or one of its fields is missing.
        """
        fields = ("name", "instruction", "prefix")
        try:
            modes = [
                ThinkMode(**{key: str(values[name][key]) for key in fields}) for name in MODE_NAMES
            ]
        except KeyError as missing:
            raise UserError(
                f"think modes without {missing}; needed: {', '.join(MODE_NAMES)}, each with "
                f"{', '.join(fields)}"
            ) from None
        return cls(*modes)

    def save(self, path: Path) -> None:
        """Write the modes as JSON."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> ThinkModes:
        """Read modes that ``save`` wrote.

        Raises:
            UserError: The file is missing, no JSON, or holds something else.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} holds no think modes: {error}") from None
        return cls.from_dict(values)


def mean_words(texts: Iterable[str]) -> int:
    """Mean number of words, to two significant digits (our choice); 0 without texts.

    It fills ``{K}``: the paper's 3500 is the mean System-2 length of its training set.
    """
    counts = [len(text.split()) for text in texts]
    return round_to_two_digits(sum(counts) / len(counts)) if counts else 0


def round_to_two_digits(value: float) -> int:
    """Round to two significant digits: 3512 becomes 3500, 87.4 becomes 87."""
    return int(float(f"{value:.2g}"))
