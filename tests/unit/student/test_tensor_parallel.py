"""What cannot be divided over devices says why; ``test_normalisation`` has what can."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from nt_lightning.errors import UserError
from nt_lightning.student.tensor_parallel import parallelize


class Mesh:
    """As much of a DeviceMesh as is asked before anything is divided."""

    def __init__(self, size):
        self._size = size

    def size(self):
        return self._size


def student(family, **options):
    small = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    }
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **small, **options))


@pytest.mark.parametrize(
    ("size", "line"),
    [
        (3, "is 3; allowed: a divisor of LlamaForCausalLM's num_attention_heads, 4"),
        (4, "is 4; allowed: a divisor of LlamaForCausalLM's num_key_value_heads, 2"),
    ],
)
def test_heads_that_cannot_be_divided(size, line):
    model = student("llama")
    with pytest.raises(UserError, match=line):
        parallelize(model, model.model.layers, Mesh(size))


def test_weights_that_a_plan_leaves_out():
    """Within attention or MLP a device may see its part alone."""
    model = student("llama")
    plan = model.config.base_model_tp_plan  # the class's
    model.config.base_model_tp_plan = {k: v for k, v in plan.items() if "up_proj" not in k}
    with pytest.raises(UserError, match="the plan of LlamaForCausalLM leaves mlp.up_proj out"):
        parallelize(model, model.model.layers, Mesh(2))


def test_adapters_on_the_embeddings():
    adapted = get_peft_model(
        student("llama"), LoraConfig(target_modules=["q_proj", "embed_tokens"])
    )
    with pytest.raises(UserError, match="adapters on embeddings or head; allowed"):
        parallelize(adapted, adapted.get_base_model().model.layers, Mesh(2))


def test_a_family_without_a_plan():
    model = student("llama")
    model.config.base_model_tp_plan = None
    with pytest.raises(UserError, match="LlamaForCausalLM has no plan for that here; allowed: 1"):
        parallelize(model, nn.ModuleList(), Mesh(2))


def test_a_plan_with_a_style_that_is_not_known():
    model = student("llama")
    model.config.base_model_tp_plan = {"layers.*.mlp.experts": "grouped_gemm"}
    with pytest.raises(UserError, match="has no plan for that here"):
        parallelize(model, nn.ModuleList(), Mesh(2))
