"""FLOPs against torch's own counter on a real forward and backward pass."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.forecast.flops import seen_pairs, work_of
from nt_lightning.forecast.weights import outline
from nt_lightning.student.head import backbone, base_model, head_of
from nt_lightning.student.loading import LoRA, load_student
from nt_lightning.student.loss import next_token_loss
from tests.tiny import save_tiny_student

TOKENS, PROMPT = 96, 32
LAYERS = 8


def counted(name, lora=None, checkpointing=False, labelled=True):
    """FLOPs of one row with eager attention, which computes all T x T scores."""
    model = load_student(name, lora=lora)
    base_model(model).set_attn_implementation("eager")
    if checkpointing:
        base_model(model).activation_checkpointing_enable()
    ids = torch.arange(TOKENS)[None] % 300
    labels = ids[0].clone()
    labels[: PROMPT if labelled else TOKENS - 1] = IGNORE_INDEX
    with FlopCounterMode(display=False) as counter:
        hidden = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
        next_token_loss(hidden, labels, head_of(model)).total.backward()
    return counter.get_total_flops()


def forecast(name, lora=None, checkpointing=0, labels=TOKENS - PROMPT):
    work = work_of(outline(name, lora))
    (each,) = work.attention.values()
    lengths = np.array([TOKENS])
    all_pairs = each * (TOKENS**2 - seen_pairs(lengths, None))  # eager computes those, too
    again = work.recomputed(lengths, checkpointing) + bool(checkpointing) * all_pairs
    return float((work.model_flops(lengths, np.array([labels])) + 3 * all_pairs + again)[0])


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student"), num_hidden_layers=LAYERS)


def test_all_weights(student):
    assert forecast(student) == counted(student)


def test_the_head_counts_labelled_tokens(student):
    few = forecast(student, labels=1)
    assert few == counted(student, labelled=False)
    assert few < forecast(student)


def test_untied_head(tmp_path):
    name = save_tiny_student(tmp_path, tie_word_embeddings=False, num_hidden_layers=LAYERS)
    assert forecast(name) == counted(name)


def test_recomputation(student):
    """Torch stops before a layer's last product, whose result no gradient needs."""
    last = 2 * 64 * 128 * TOKENS * LAYERS
    assert forecast(student, checkpointing=1) == counted(student, checkpointing=True) + last


def test_adapters_on_frozen_weights(student):
    """No gradient goes through the first layer's input: part of an eighth of a third."""
    lora = LoRA(r=4)
    assert forecast(student, lora) == pytest.approx(counted(student, lora), rel=0.03)
    assert forecast(student, lora) < 0.9 * forecast(student)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma2", "mistral"])
def test_families(tmp_path, family):
    options = {} if family == "qwen2" else {"sliding_window": None}
    if family == "gemma2":
        options = {"sliding_window": 4096, "layer_types": ["full_attention"] * LAYERS}
    name = save_tiny_student(tmp_path, family, num_hidden_layers=LAYERS, **options)
    assert forecast(name) == pytest.approx(counted(name), rel=0.005)


def test_a_window_is_seen(tmp_path):
    types = ["sliding_attention", "full_attention"]
    name = save_tiny_student(tmp_path, "gemma3_text", sliding_window=32, layer_types=types)
    attention = work_of(outline(name, None)).attention
    assert attention == {32: 4 * 4 * 16, None: 4 * 4 * 16}


@pytest.mark.parametrize("window", [None, 1, 5, 40])
def test_pairs_by_counting(window):
    lengths = np.array([1, 4, 5, 6, 33])
    wanted = [
        sum(
            key <= query and (window is None or query - key < window)
            for query in range(n)
            for key in range(n)
        )
        for n in lengths
    ]
    assert seen_pairs(lengths, window).tolist() == wanted


def test_experts_count_where_tokens_go(tmp_path):
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "mixtral",
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
    )
    config.save_pretrained(tmp_path)
    attention = 2 * (32 * 32 + 32 * 16)  # query and output, key and value
    experts = 2 * (3 * 32 * 64) + 8 * 32  # two of eight, and the router
    assert work_of(outline(str(tmp_path), None)).forward == 2 * 2 * (attention + experts)
