"""The copy that generates: same answers, training model untouched."""

import pytest
import torch

from nt_lightning.errors import UserError
from nt_lightning.student.loading import inference_copy, load_student
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
