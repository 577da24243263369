"""Weights of an outline: published numbers, the loaded model, bytes."""

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.forecast.weights import base_linears, outline, stored_bytes, weights_of
from nt_lightning.student.loading import LoRA, load_student
from tests.published import save_published_student
from tests.tiny import save_tiny_student
from tests.unit.forecast.setups import setup_for


@pytest.mark.parametrize(
    ("name", "number"), [("llama-3.1-8b", 8_030_261_248), ("llama-3.3-70b", 70_553_706_496)]
)
def test_published_numbers(tmp_path, name, number):
    weights = weights_of(outline(save_published_student(tmp_path, name), None))
    assert sum(weight.numel for weight in weights) == number


@pytest.mark.parametrize("lora", [None, LoRA(r=4)])
@pytest.mark.parametrize("tied", [True, False])
def test_an_outline_has_the_weights_of_the_model(tmp_path, lora, tied):
    name = save_tiny_student(tmp_path, tie_word_embeddings=tied)
    found = {w.name: (w.shape, w.trained) for w in weights_of(outline(name, lora))}
    model = load_student(name, lora=lora)
    assert found == {n: (tuple(p.shape), p.requires_grad) for n, p in model.named_parameters()}


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_packed_bytes_are_those_of_bitsandbytes(tmp_path, quantization):
    name = save_tiny_student(
        tmp_path, hidden_size=256, head_dim=64, intermediate_size=512, num_hidden_layers=1
    )
    lora = LoRA(r=4)
    model = load_student(name, lora=lora, quantization=quantization)
    held = 0
    for parameter in model.parameters():
        held += parameter.numel() * parameter.element_size()
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            scales = [state.absmax, state.state2.absmax]
            held += sum(scale.numel() * scale.element_size() for scale in scales)
        if getattr(parameter, "SCB", None) is not None:
            held += parameter.SCB.numel() * parameter.SCB.element_size()
    setup = setup_for(name, lora=lora, quantization=quantization)
    weights = weights_of(outline(name, lora), quantized=True)
    assert sum(stored_bytes(w, setup) for w in weights) == pytest.approx(held, rel=0.002)
    packed = {w.name for w in weights if w.packed}
    assert len(packed) == 7


def test_the_head_and_adapters_are_not_packed(tmp_path):
    model = outline(save_tiny_student(tmp_path, tie_word_embeddings=False), LoRA(r=4))
    assert len(list(base_linears(model))) == 2 * 7


def test_shares_are_rounded_up(tmp_path):
    name = save_tiny_student(tmp_path, hidden_size=60, head_dim=10)
    setup = setup_for(name, strategy="fsdp2", world_size=8)
    found = {w.name: stored_bytes(w, setup) for w in weights_of(outline(name, None))}
    assert found["model.norm.weight"] == 8 * 4
    assert found["model.layers.0.self_attn.k_proj.weight"] == 3 * 60 * 4


def test_a_missing_config_is_said(tmp_path):
    with pytest.raises(UserError, match="a folder with config.json"):
        outline(str(tmp_path), None)


def test_nothing_is_allocated(tmp_path):
    model = outline(save_published_student(tmp_path, "llama-3.1-8b"), LoRA())
    assert {parameter.device for parameter in model.parameters()} == {torch.device("meta")}
