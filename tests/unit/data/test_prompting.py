"""Modes and formatter of a student that is only asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nt_lightning.data.prompting import Prompting
from nt_lightning.errors import UserError
from nt_lightning.traces.modes import THINK_MODES_FILE, ThinkModes
from tests.tiny import save_tiny_student


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_student(tmp_path_factory.mktemp("student"))


def test_the_papers_modes_without_others(folder: str) -> None:
    assert "about 3500 words" in Prompting(folder).modes.think.instruction
    assert "about 60 words" in Prompting(folder, num_words=60).modes.think.instruction


def test_an_exported_student_is_asked_in_its_own_modes(folder: str, tmp_path: Path) -> None:
    exported = Path(save_tiny_student(tmp_path / "exported"))
    ThinkModes().with_num_words(87).save(exported / THINK_MODES_FILE)
    assert "about 87 words" in Prompting(str(exported)).modes.think.instruction
    assert "about 60 words" in Prompting(str(exported), num_words=60).modes.think.instruction


def test_a_checkpoint_has_the_last_word(folder: str) -> None:
    data = Prompting(folder)
    plain = data.formatter.prompt_text("Q?", data.modes.no_think)
    data.use_prompts(ThinkModes().with_num_words(87), None)
    assert "about 87 words" in data.modes.think.instruction
    assert data.formatter.prompt_text("Q?", data.modes.no_think) == plain


def test_an_exported_student_keeps_its_system_turn(folder: str, tmp_path: Path) -> None:
    exported = Path(save_tiny_student(tmp_path / "exported"))
    own = ThinkModes().with_num_words(87).to_dict() | {"system_prompt": "Be brief."}
    (exported / THINK_MODES_FILE).write_text(json.dumps(own))
    data = Prompting(str(exported))
    assert "Be brief." in data.formatter.prompt_text("Q?", data.modes.no_think)
    other = Prompting(str(exported), system_prompt="Be long.")
    assert "Be long." in other.formatter.prompt_text("Q?", other.modes.no_think)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"num_words": 60}, "num_words is 60"), ({"system_prompt": "X"}, "system_prompt is 'X'")],
)
def test_what_is_given_does_not_vanish_behind_a_checkpoint(
    folder: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Prompting(folder, **given).use_prompts(ThinkModes().with_num_words(87), None)


def test_one_batch_of_nothing(folder: str) -> None:
    assert len(Prompting(folder).test_dataloader()) == 1


def test_no_words_at_all(folder: str) -> None:
    with pytest.raises(UserError, match="num_words is 0"):
        Prompting(folder, num_words=0)
