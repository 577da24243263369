"""Packed equals single: hidden states, loss and gradients, on the real model classes."""

import pytest
import torch
from torch import nn

from nt_lightning.data.batch import IGNORE_INDEX, PackedBatch
from nt_lightning.student import attention
from nt_lightning.student.head import head_of, verify_head
from nt_lightning.student.loading import LoRA, load_student
from nt_lightning.student.loss import next_token_loss
from nt_lightning.student.sft import MaskedSFT
from tests.tiny import save_tiny_student

WINDOW = 16
LENGTHS = (5, 16, 17, 33, 48)  # up to three sliding windows
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral")


@pytest.fixture(params=FAMILIES)
def module(request, tmp_path):
    options = {"sliding_window": WINDOW} if request.param in FAMILIES[3:] else {}
    return load_module(save_tiny_student(tmp_path, request.param, **options))


def load_module(folder, lora=None, backend=attention.NT_VARLEN):
    attention.register()
    module = MaskedSFT(folder)
    module.model = load_student(folder, lora=lora)
    module.model.set_attn_implementation(backend)
    return module


def traces(vocab):
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(3, vocab, (length,), generator=draw) for length in LENGTHS]


def pack(parts):
    """A packed batch written out by hand; the first two tokens of each trace are its prompt."""
    lengths = torch.tensor([len(ids) for ids in parts])
    ids = torch.cat(parts)
    positions = torch.cat([torch.arange(n) for n in lengths])
    labels = torch.where(positions < 2, IGNORE_INDEX, ids)
    borders = torch.cat([torch.zeros(1), lengths.cumsum(0)]).int()
    zeros = torch.zeros(len(parts), dtype=torch.int64)
    return PackedBatch(
        ids[None],
        labels[None],
        positions[None],
        borders,
        int(lengths.max()),
        zeros,
        zeros,
        torch.arange(len(parts)),
        int((labels != IGNORE_INDEX).sum()),
    )


def single_logits(model, ids):
    """The family's own logits of one trace, with transformers' eager attention."""
    return model(input_ids=ids[None], use_cache=False).logits[0].float()


def losses_and_grads(module, batches):
    module.zero_grad()
    total = sum(module.loss_sum(batch).total for batch in batches)
    total.backward()
    return total, {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_close_per_tensor(ours, theirs, tolerance=1e-5):
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        scale = theirs[name].norm().clamp_min(1e-12)
        assert (grad - theirs[name]).norm() / scale <= tolerance, name


def packed_gap(module, parts, **changes):
    """Largest difference between packed logits and the family's own on each trace alone."""
    packed = module(pack(parts)._replace(**changes))
    ours = head_of(module.model).logits(packed)
    module.model.set_attn_implementation("eager")
    theirs = torch.cat([single_logits(module.model, ids) for ids in parts])
    module.model.set_attn_implementation(attention.NT_VARLEN)
    return (ours - theirs).abs().max().item()


def test_packed_logits_equal_single_logits(module):
    parts = traces(module.model.config.vocab_size)
    with torch.no_grad():
        assert packed_gap(module, parts) <= 1e-5


def test_a_planted_leak_is_seen(module):
    """One border left out joins two traces: the same comparison must fail by far."""
    parts = traces(module.model.config.vocab_size)
    borders = pack(parts).cu_seqlens
    leaky = torch.cat([borders[:2], borders[3:]])
    with torch.no_grad():
        assert packed_gap(module, parts, cu_seqlens=leaky) > 1e-3


def test_packed_gradients_equal_single_gradients(module):
    parts = traces(module.model.config.vocab_size)
    packed, grads = losses_and_grads(module, [pack(parts)])
    alone, single = losses_and_grads(module, [pack([ids]) for ids in parts])
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-5)
    assert_close_per_tensor(grads, single)


def test_loss_equals_the_family_own(module):
    """Against transformers: logits of each trace alone, cross-entropy over its labels."""
    parts = traces(module.model.config.vocab_size)
    ours = module.loss_sum(pack(parts)).total
    module.model.set_attn_implementation("eager")
    theirs = sum(
        nn.functional.cross_entropy(
            single_logits(module.model, ids)[1:-1], ids[2:], reduction="sum"
        )
        for ids in parts
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_the_stock_backends_keep_traces_apart_too(module, backend):
    """The backends that run here besides ours: position ids alone must do."""
    if backend == "sdpa":
        backend = attention.padded_backend(module.model)
    parts = traces(module.model.config.vocab_size)
    with torch.no_grad():
        want = module(pack(parts))
        module.model.set_attn_implementation(backend)
        torch.testing.assert_close(module(pack(parts)), want, rtol=1e-4, atol=1e-5)


def test_activation_checkpointing_changes_nothing(module):
    parts = traces(module.model.config.vocab_size)
    _, plain = losses_and_grads(module, [pack(parts)])
    module.model.activation_checkpointing_enable()
    module.model.train()
    _, recomputed = losses_and_grads(module, [pack(parts)])
    assert_close_per_tensor(recomputed, plain)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]])
def test_lora_on_the_head_is_honoured(tmp_path, targets):
    folder = save_tiny_student(tmp_path, "llama", tie_word_embeddings=False)
    module = load_module(folder, LoRA(r=4, target_modules=targets))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    verify_head(module.model)
    parts = traces(module.model.get_base_model().config.vocab_size)
    packed, grads = losses_and_grads(module, [pack(parts)])
    alone, single = losses_and_grads(module, [pack([ids]) for ids in parts])
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-5)
    assert_close_per_tensor(grads, single)
    assert any("lm_head" in name for name in grads) == ("lm_head" in targets)


def test_an_unknown_head_is_refused(tmp_path):
    folder = save_tiny_student(tmp_path, "llama")
    module = load_module(folder)

    class Doubled(nn.Linear):
        def forward(self, hidden):
            return 2 * super().forward(hidden)

    module.model.lm_head.__class__ = Doubled
    with pytest.raises(ValueError, match="output head of LlamaForCausalLM is not known"):
        verify_head(module.model)


def test_a_filler_touches_every_parameter(module):
    batch = pack([torch.tensor([3, 4])])
    batch = batch._replace(labels=torch.full_like(batch.labels, IGNORE_INDEX))
    loss, grads = losses_and_grads(module, [batch])
    assert loss.item() == 0.0
    assert grads.keys() == {name for name, _ in module.named_parameters()}
    assert all((grad == 0).all() for grad in grads.values())


def test_no_label_is_predicted_from_the_trace_before():
    parts = [torch.arange(3, 9), torch.arange(9, 15)]
    batch = pack(parts)
    hidden = torch.randn(12, 4)
    positions = next_token_loss(hidden, batch.labels[0], head_of_random()).positions
    assert positions.tolist() == [2, 3, 4, 5, 8, 9, 10, 11]


def head_of_random():
    from nt_lightning.student.loss import Head

    return Head(torch.randn(20, 4))
