"""The loss against full logits and ``cross_entropy``, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.student.loss import Head, next_token_loss


def make(rows=23, vocab=37, width=8, bias=False, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(vocab, width, generator=draw).requires_grad_()
    offset = torch.randn(vocab, generator=draw).requires_grad_() if bias else None
    labels = torch.randint(0, vocab, (rows,), generator=draw)
    labels[torch.rand(rows, generator=draw) < 0.4] = IGNORE_INDEX
    labels[0] = IGNORE_INDEX
    return hidden, weight, offset, labels


def reference(hidden, weight, bias, labels, scale=1.0, softcap=None):
    logits = (hidden @ weight.T + (0 if bias is None else bias)) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORE_INDEX, reduction="sum")


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize(
    ("bias", "scale", "softcap"),
    [(False, 1.0, None), (True, 1.0, None), (False, 0.25, None), (True, 2.0, 5.0)],
)
def test_equals_full_logits(chunk, bias, scale, softcap):
    hidden, weight, offset, labels = make(bias=bias)
    leaves = [x for x in (hidden, weight, offset) if x is not None]
    wanted = reference(hidden, weight, offset, labels, scale, softcap)
    wanted_grads = torch.autograd.grad(wanted * 0.3, leaves)
    ours = next_token_loss(hidden, labels, Head(weight, offset, scale, softcap), chunk)
    grads = torch.autograd.grad(ours.total * 0.3, leaves)
    torch.testing.assert_close(ours.total, wanted, rtol=1e-5, atol=1e-5)
    for grad, want in zip(grads, wanted_grads, strict=True):
        assert (grad - want).norm() <= 1e-5 * want.norm()


def test_per_label_losses_by_hand():
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    head = Head(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    labels = torch.tensor([IGNORE_INDEX, 0, 1])
    ours = next_token_loss(hidden, labels, head)
    by_hand = torch.tensor([1 + torch.e**-2, 1 + torch.e**-3]).log()  # log softmax of (2,0), (0,3)
    torch.testing.assert_close(ours.per_label, by_hand)
    assert ours.positions.tolist() == [1, 2]


def test_nothing_labelled_is_zero_and_still_touches_everything():
    hidden, weight, offset, labels = make(bias=True)
    ours = next_token_loss(hidden, torch.full_like(labels, IGNORE_INDEX), Head(weight, offset))
    assert ours.total.item() == 0.0
    for grad in torch.autograd.grad(ours.total, [hidden, weight, offset]):
        assert grad is not None
        assert (grad == 0).all()


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, _, labels = make()
    frozen = weight.detach()
    next_token_loss(hidden, labels, Head(frozen)).total.backward()
    assert frozen.grad is None
    want = torch.autograd.grad(reference(hidden, frozen, None, labels), hidden)[0]
    torch.testing.assert_close(hidden.grad, want, rtol=1e-5, atol=1e-6)


def test_under_autocast_the_loss_is_float32_and_close():
    hidden, weight, _, labels = make(width=64)
    want = reference(hidden, weight, None, labels)
    with torch.autocast("cpu", torch.bfloat16):
        ours = next_token_loss(hidden, labels, Head(weight))
    ours.total.backward()
    assert ours.total.dtype == weight.grad.dtype == torch.float32
    assert abs(ours.total - want) / want < 0.02


def test_different_lengths_are_refused():
    hidden, weight, _, labels = make()
    with pytest.raises(ValueError, match="23 positions, labels 22"):
        next_token_loss(hidden, labels[1:], Head(weight))
