"""What evaluation needs of a data module where there are no traces: a formatter and modes."""

from __future__ import annotations

import json
import logging
from functools import cached_property
from pathlib import Path

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from nt_lightning.errors import UserError
from nt_lightning.models import load_tokenizer, model_path
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_MODES_FILE, ThinkModes

log = logging.getLogger(__name__)
PAPER_NUM_WORDS = 3500


class Prompting(LightningDataModule):
    """Asks a student that is not trained here: a Hub model, an exported folder, a served one.

    Modes and system turn are those of the folder that ``export`` wrote, or of the checkpoint that
    is tested; else the modes are the paper's.

    Args:
        model_name: The student, for its tokenizer and template.
        num_words: Words that Think asks for; null takes the student's own, or the paper's 3,500.
        system_prompt: A system turn in front of every question; null takes the student's own, or
            leaves the template's.

    Raises:
        UserError: ``num_words`` is less than 1.
    """

    identity = None

    def __init__(
        self,
        model_name: str = "smollm2-135m-instruct",
        num_words: int | None = None,
        system_prompt: str | None = None,
    ) -> None:
        super().__init__()
        if num_words is not None and num_words < 1:
            raise UserError(f"data.num_words is {num_words}; allowed: 1 and more, or null")
        self.model_name, self.num_words = model_name, num_words
        self.given_system_prompt = system_prompt
        self.teacher_names: list[str] = []
        self.num_steps = 0
        self._own: tuple[ThinkModes, str | None] | None = None

    @cached_property
    def formatter(self) -> PromptFormatter:
        """Renders prompts for the student."""
        return PromptFormatter(load_tokenizer(self.model_name), self.system_prompt)

    @property
    def modes(self) -> ThinkModes:
        """The think modes, the number of words filled in."""
        return self._prompting()[0]

    @property
    def system_prompt(self) -> str | None:
        """The system turn; ``None`` is the template's own."""
        return self._prompting()[1]

    def use_prompts(self, modes: ThinkModes, system_prompt: str | None) -> None:
        """Ask as a checkpoint's student was trained.

        Args:
            modes: Think modes of the checkpoint, ``{K}`` filled.
            system_prompt: Its system turn.

        Raises:
            UserError: ``num_words`` or ``system_prompt`` is given, too.
        """
        given = {"num_words": self.num_words, "system_prompt": self.given_system_prompt}
        for name, value in given.items():
            if value is not None:
                raise UserError(
                    f"data.{name} is {value!r}, but the checkpoint was trained in prompts of its "
                    "own; leave it out"
                )
        self._own = modes, system_prompt
        self.__dict__.pop("formatter", None)

    def test_dataloader(self) -> DataLoader[int]:
        """One batch of nothing: Lightning runs no hook without a batch."""
        return DataLoader([0])  # type: ignore[arg-type]

    def _prompting(self) -> tuple[ThinkModes, str | None]:
        if self._own is None:
            modes, system_prompt = ThinkModes(), self.given_system_prompt
            exported = Path(model_path(self.model_name)) / THINK_MODES_FILE
            if exported.is_file():
                log.info("think modes: %s", exported)
                if self.num_words is None:
                    modes = ThinkModes.load(exported)
                if system_prompt is None:
                    system_prompt = json.loads(exported.read_text()).get("system_prompt")
            self._own = modes.with_num_words(self.num_words or PAPER_NUM_WORDS), system_prompt
        return self._own
