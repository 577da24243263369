"""Think modes: what the paper says to the student, and their way through files."""

import json

import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.modes import (
    ADAPTIVE,
    NO_THINK,
    THINK,
    ThinkMode,
    ThinkModes,
    mean_words,
    round_to_two_digits,
)


def test_the_three_instructions():
    assert NO_THINK.user_text("Q") == "Q\n\nAnswer directly without thinking"
    assert ADAPTIVE.user_text("Q") == "Q\n\nThink carefully before answering."
    filled = THINK.with_num_words(3500)
    assert filled.user_text("Q") == "Q\n\nThink carefully before answering. Use about 3500 words"
    assert (NO_THINK.prefix, ADAPTIVE.prefix, filled.prefix) == ("", "", "<think>")
    assert ThinkMode("no_think", "").user_text("Q") == "Q"


def test_save_and_load(tmp_path):
    modes = ThinkModes(adaptive=ThinkMode("adaptive", "Überlege.", "")).with_num_words(40)
    modes.save(tmp_path / "modes.json")
    assert ThinkModes.load(tmp_path / "modes.json") == modes
    assert "Überlege." in (tmp_path / "modes.json").read_text()


def test_unknown_and_missing_modes(tmp_path):
    with pytest.raises(UserError, match="'deep'; allowed: no_think, adaptive, think"):
        ThinkModes()["deep"]
    values = ThinkModes().to_dict()
    del values["think"]["prefix"]
    (tmp_path / "modes.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="without 'prefix'; needed: no_think, adaptive, think"):
        ThinkModes.load(tmp_path / "modes.json")
    for text in (None, "{"):
        if text:
            (tmp_path / "modes.json").write_text(text)
        else:
            (tmp_path / "modes.json").unlink()
        with pytest.raises(UserError, match="holds no think modes"):
            ThinkModes.load(tmp_path / "modes.json")


@pytest.mark.parametrize(
    ("value", "rounded"), [(3512, 3500), (87.4, 87), (0.4, 0), (0, 0), (999, 1000), (12.5, 12)]
)
def test_two_significant_digits(value, rounded):
    assert round_to_two_digits(value) == rounded


def test_mean_words():
    assert mean_words(["one two three", "", "four\nfive  six"]) == 2
    assert mean_words([]) == 0
