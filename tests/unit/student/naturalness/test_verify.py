"""Families whose attention is known, and the others."""

import copy

import pytest
import torch
from transformers import AutoConfig

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness import attention, verify
from nt_lightning.student.naturalness.verify import exact_context, verify_runs
from tests.naturalness import load_scorer
from tests.tiny import save_tiny_student


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_scorer(save_tiny_student(tmp_path_factory.mktemp("student")), (0,)).model


def test_a_known_family_passes_and_keeps_its_state(model):
    model.train()
    verify_runs(model)
    assert model.training
    assert model.config._attn_implementation == attention.NT_RUNS
    model.eval()


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gemma3_text", "mistral"])
def test_a_family_passes_in_bfloat16_too(tmp_path, family):
    verify_runs(load_scorer(save_tiny_student(tmp_path, family), (0,)).model.bfloat16())


def test_the_sample_for_a_gpu_has_several_blocks(model):
    """It is eight times as long; here it runs on the CPU's attention."""
    model, seen = copy.deepcopy(model), []
    embedding = model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda _, ids, out: seen.append(ids[0].numel()))
    with torch.no_grad():
        assert verify._gap(model, 8) <= verify.TOLERANCE
    hook.remove()
    assert seen[0] > 2 * 128


def test_an_unknown_layer_is_refused(model, monkeypatch):
    layers = ["full_attention", "linear_attention"]
    monkeypatch.setattr(model.config, "layer_types", layers, raising=False)
    with pytest.raises(UserError, match="LlamaForCausalLM has layers of linear_attention; "):
        verify_runs(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_that_ignores_the_layout_is_refused(model, monkeypatch, dtype):
    model = copy.deepcopy(model).to(dtype)
    plain = attention._per_run

    def one_run(query, key, value, layout, *rest):
        whole = attention.RunLayout((attention.Segment(query.shape[2], ()),))
        return plain(query, key, value, whole, *rest)

    monkeypatch.setattr(attention, "_per_run", one_run)
    with pytest.raises(UserError, match="the attention of LlamaForCausalLM is not known"):
        verify_runs(model)
    assert model.config._attn_implementation == attention.NT_RUNS


@pytest.mark.parametrize(
    ("rope", "context"),
    [
        ({"rope_type": "default"}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
        ({"rope_type": "dynamic", "factor": 2.0}, 8192),
        (
            {
                "rope_type": "longrope",
                "original_max_position_embeddings": 1024,
                "long_factor": [1.0] * 8,
                "short_factor": [1.0] * 8,
            },
            1024,
        ),
    ],
)
def test_the_context_ends_where_the_rotary_embedding_would_change(rope, context):
    config = AutoConfig.for_model(
        "llama",
        hidden_size=64,
        num_attention_heads=4,
        head_dim=16,
        max_position_embeddings=8192,
        rope_parameters={"rope_theta": 10000.0, **rope},
    )
    assert exact_context(config) == context


def test_rotary_embeddings_of_each_type_of_layer():
    assert exact_context(AutoConfig.for_model("gemma3_text")) == 131072
