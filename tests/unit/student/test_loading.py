"""The copy that generates: same answers, training model untouched, also one in 4 bits."""

from pathlib import Path

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.student.loading import LoRA, inference_copy, load_student
from tests.tiny import save_tiny_student


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, tmp_path):
    return load_student(save_tiny_student(tmp_path, tie_word_embeddings=request.param))


def test_float32_shares_every_weight(model):
    copy = inference_copy(model, torch.float32)
    assert [p.data_ptr() for p in copy.parameters()] == [p.data_ptr() for p in model.parameters()]
    assert model.training
    assert not copy.training
    assert copy.config is not model.config


def test_bfloat16_casts_weights_and_keeps_buffers(model):
    copy = inference_copy(model, torch.bfloat16)
    for (name, ours), (_, theirs) in zip(
        copy.named_parameters(), model.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs.to(torch.bfloat16)), name
        assert theirs.dtype == torch.float32
        assert theirs.requires_grad
    for (name, ours), (_, theirs) in zip(copy.named_buffers(), model.named_buffers(), strict=True):
        assert ours.dtype == theirs.dtype == torch.float32, name
    tied = model.config.tie_word_embeddings
    assert (copy.lm_head.weight is copy.model.embed_tokens.weight) == tied


def test_the_copy_generates_like_the_model(model):
    ids = torch.tensor([[5, 6, 7, 8]])
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 2}
    want = model.eval().generate(ids, attention_mask=torch.ones_like(ids), **options)
    ours = inference_copy(model, torch.float32).generate(
        ids, attention_mask=torch.ones_like(ids), **options
    )
    assert torch.equal(ours, want)


def test_no_such_model():
    with pytest.raises(UserError, match="'no/such/folder' cannot be loaded"):
        load_student("no/such/folder")


def gradients(model):
    """Of the adapters, for the same ids; the model stays in training mode."""
    ids = torch.arange(3, 67).reshape(1, -1)
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    named = model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def around_an_evaluation(folder):
    """Gradients of a 4-bit student with adapters before and after it has answered."""
    torch.manual_seed(0)
    student = save_tiny_student(folder, hidden_size=256, intermediate_size=512)
    model = load_student(student, lora=LoRA(r=4), quantization="4bit")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first: lora_A would have no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    before = gradients(model)
    with torch.no_grad():
        inference_copy(model, torch.float32)(input_ids=torch.tensor([[5, 6, 7, 8]]))
    return before, gradients(model)


def test_an_evaluation_leaves_the_gradients_of_a_4bit_student_alone(tmp_path):
    before, after = around_an_evaluation(tmp_path)
    assert before
    assert all(gradient.any() for gradient in before.values())
    for name, gradient in before.items():
        assert torch.equal(after[name], gradient), name


@pytest.mark.skipif(
    "avx512_bf16" not in Path("/proc/cpuinfo").read_text(),
    reason="bitsandbytes repacks 4-bit weights on CPUs with avx512_bf16 alone",
)
@pytest.mark.filterwarnings("ignore:bitsandbytes:UserWarning")
def test_without_the_guard_the_gradients_would_be_others(tmp_path, monkeypatch):
    monkeypatch.setattr("nt_lightning.student.loading._keep_weights_unpacked", lambda model: None)
    before, after = around_an_evaluation(tmp_path)
    first = [name for name in before if "layers.0" in name]
    assert first
    for name in first:
        assert (after[name] - before[name]).norm() > 0.01 * before[name].norm(), name
