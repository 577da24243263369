"""The loss in chunks against plain cross-entropy on full logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.doctor.finding import Finding, difference
from nt_lightning.doctor.subject import Subject
from nt_lightning.student.head import head_of
from nt_lightning.student.loss import Head, next_token_loss

POSITIONS = 512  # full logits of 128k words in float64: 0.5 GB
CHUNKS = 3
ALLOWED = 1e-4


def fused_equals_plain(subject: Subject) -> Finding:
    """Value and gradients of the loss against ``torch.nn.functional.cross_entropy`` in float64.

    On hidden states of the sample's first row and the student's head, in three chunks, in float32
    whatever the run computes in: no label may be lost in rounding. The largest relative difference
    of the sum, the losses of all labels, and the gradients of hidden states and head. Allowed:
    1e-4, because a product of few rows sums over all words one after the other (SmolLM2's 49k words
    on a CPU: 3e-5 in chunks of 15 rows, 8e-5 of one row, 2e-6 of 47).
    """
    (batch,) = subject.batches([0])
    labels = batch.labels[0, :POSITIONS]
    with torch.no_grad(), subject.precision():
        states = subject.module(batch)[:POSITIONS].float()
    head = head_of(subject.module.model)
    num_labels = int((labels != IGNORE_INDEX).sum())
    detail = f"{num_labels} labels: sum, each label, gradients of hidden states and head"
    ours = _fused(states, labels, head, max(1, num_labels // CHUNKS))
    theirs = _plain(states.double(), labels, head)
    if any(mine.shape != other.shape for mine, other in zip(ours, theirs, strict=True)):
        return Finding(float("inf"), ALLOWED, detail)
    gaps = [difference(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    return Finding(max(gaps), ALLOWED, detail)


def _fused(states: Tensor, labels: Tensor, head: Head, chunk: int) -> list[Tensor]:
    """Sum, losses of labels, gradients of states and weight, as training computes them."""
    hidden = states.clone().requires_grad_()
    weight = head.weight.detach().float().clone().requires_grad_()
    loss = next_token_loss(hidden, labels, head._replace(weight=weight), chunk)
    return [loss.total, loss.per_label, *torch.autograd.grad(loss.total, (hidden, weight))]


def _plain(states: Tensor, labels: Tensor, head: Head) -> list[Tensor]:
    """The same from full logits, in the dtype of the states."""
    hidden = states.clone().requires_grad_()
    weight = head.weight.detach().to(states.dtype).clone().requires_grad_()
    bias = None if head.bias is None else head.bias.detach().to(states.dtype)
    logits = F.linear(hidden[:-1], weight, bias) * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    each = F.cross_entropy(logits, labels[1:], ignore_index=IGNORE_INDEX, reduction="none")
    kept = each[labels[1:] != IGNORE_INDEX]
    return [kept.sum(), kept, *torch.autograd.grad(kept.sum(), (hidden, weight))]
