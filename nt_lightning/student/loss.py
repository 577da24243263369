"""Next-token loss on labelled positions alone, in chunks: full logits never exist."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nt_lightning.data.batch import IGNORE_INDEX

# Rows of logits at a time, our choice. 128k words x 1,024 x 4 bytes is 0.5 GB on a GPU; on the CPU
# fewer rows are as fast and a tenth of the memory of a step.
CHUNK = 1024
CPU_CHUNK = 256


class Head(NamedTuple):
    """An output head as tensors, so that one loss serves every family.

    ``logits = softcap * tanh(scale * (hidden @ weight.T + bias) / softcap)``; without softcap,
    ``scale * (...)``. ``weight`` is [V, D] and may be the result of other parameters (LoRA).
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] in float32 of hidden states [N, D]: the plain definition."""
        out = F.linear(hidden, self.weight, self.bias).float() * self.scale
        return out if self.softcap is None else self.softcap * torch.tanh(out / self.softcap)


class LossSum(NamedTuple):
    """Sum of the loss in nats, and each label's share of it."""

    total: Tensor  # float32 scalar, differentiable
    per_label: Tensor  # float32 [N], detached
    positions: Tensor  # int64 [N], where in the row each label stands


def next_token_loss(
    hidden: Tensor, labels: Tensor, head: Head, chunk: int | None = None
) -> LossSum:
    """Sum of next-token cross-entropy over the labelled positions of one packed row.

    Position t - 1 predicts ``labels[t]``; the shift happens here and nowhere else. A trace's first
    token is never labelled (a prompt stands before every response), so no label is predicted from
    the trace in front of it.

    Args:
        hidden: Final hidden states, [T, D], any float dtype; the loss is computed in float32.
        labels: Token ids aligned with ``input_ids``, [T]; ``IGNORE_INDEX`` drops a position.
        head: The model's own output head.
        chunk: Rows of logits that exist at one time; by default what suits the device.

    Returns:
        The sum, each label's loss and its position; zero (never NaN) without labels, with
        gradients of zero for every parameter of the head and for ``hidden``.

    Raises:
        ValueError: ``hidden`` and ``labels`` differ in T.

    Source: masked-question SFT, NaturalThoughts (arXiv:2507.01921), section 3.
    """
    if hidden.shape[0] != labels.shape[0]:
        raise ValueError(f"hidden has {hidden.shape[0]} positions, labels {labels.shape[0]}")
    if chunk is None:
        chunk = CPU_CHUNK if hidden.device.type == "cpu" else CHUNK
    positions = (labels[1:] != IGNORE_INDEX).nonzero().squeeze(1) + 1
    rows = hidden.index_select(0, positions - 1)
    if torch.is_autocast_enabled(hidden.device.type):
        rows = rows.to(torch.get_autocast_dtype(hidden.device.type))
    total, per_label = _HeadLoss.apply(
        rows, head.weight, head.bias, labels[positions], head.scale, head.softcap, chunk
    )
    return LossSum(total, per_label, positions)


class _HeadLoss(torch.autograd.Function):
    """Cross-entropy of a linear head whose gradients are made in the forward pass, per chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        softcap: float | None,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        """See ``next_token_loss``; gradients are computed only where one is wanted."""
        want_rows, want_weight, want_bias, *_ = ctx.needs_input_grad
        head = Head(weight.to(rows.dtype), bias, scale, softcap)
        grad_rows = torch.zeros_like(rows) if want_rows else None
        grad_weight = _ProductSum(weight) if want_weight else None
        grad_bias = torch.zeros_like(bias) if bias is not None and want_bias else None
        losses = torch.empty(len(targets), dtype=torch.float32, device=rows.device)
        buffers = _Buffers.like(rows[:chunk], len(weight))
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                losses[part], grad = _chunk_loss(rows[part], targets[part], head, buffers)
                if grad_rows is not None:
                    torch.mm(grad, head.weight, out=grad_rows[part])
                if grad_weight is not None:
                    grad_weight.add(grad.T, rows[part])
                if grad_bias is not None:
                    grad_bias += grad.sum(0).to(grad_bias.dtype)
        ctx.grads = (grad_rows, None if grad_weight is None else grad_weight.total, grad_bias)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the stored gradients by the loss's own, in place: they are used once."""
        grads, ctx.grads = ctx.grads, None
        return (*(None if g is None else g.mul_(grad_total) for g in grads), *(None,) * 4)


class _Buffers(NamedTuple):
    """Room for one chunk's logits, [chunk, V], used by all chunks.

    Fresh memory of this size comes from the system page by page, which costs as much as a tenth
    of the products on the CPU.
    """

    product: Tensor  # in the dtype of the rows
    logits: Tensor  # float32; the same memory where the rows are float32

    @classmethod
    def like(cls, rows: Tensor, num_words: int) -> _Buffers:
        """Buffers for chunks of at most ``len(rows)``."""
        product = rows.new_empty(len(rows), num_words)
        is_float = rows.dtype == torch.float32
        return cls(product, product if is_float else torch.empty_like(product, dtype=torch.float32))


class _ProductSum:
    """A sum of matrix products in the shape and dtype of ``like``; zeros without any."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._sum: Tensor | None = None
        self._product: Tensor | None = None  # where products have another dtype than the sum

    @property
    def total(self) -> Tensor:
        """The sum."""
        return torch.zeros_like(self._like) if self._sum is None else self._sum

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add ``left @ right``."""
        if left.dtype == self._like.dtype:
            self._sum = left @ right if self._sum is None else self._sum.addmm_(left, right)
            return
        if self._product is None:
            self._product = left.new_empty(self._like.shape)
        torch.mm(left, right, out=self._product)
        if self._sum is None:
            self._sum = self._product.to(self._like.dtype)
        else:
            self._sum += self._product


def _chunk_loss(
    rows: Tensor, targets: Tensor, head: Head, buffers: _Buffers
) -> tuple[Tensor, Tensor]:
    """Loss [n] of a chunk and its gradient with respect to the linear map's output, [n, V].

    The gradient lies in a buffer: the next chunk overwrites it.
    """
    product, logits = (buffer[: len(rows)] for buffer in buffers)
    torch.mm(rows, head.weight.T, out=product)
    if product.dtype != torch.float32:
        logits.copy_(product)
    if head.bias is not None:
        logits += head.bias.float()
    if head.scale != 1.0:
        logits *= head.scale
    if head.softcap is not None:
        logits.div_(head.softcap).tanh_()
        slope = 1 - logits.square()
        logits *= head.softcap
    # In place from here on: a chunk's logits are the largest tensor there is.
    logits -= logits.amax(dim=-1, keepdim=True)
    wanted = logits.gather(1, targets[:, None])
    logits.exp_()
    norm = logits.sum(dim=-1, keepdim=True)
    loss = (norm.log() - wanted).squeeze(1)
    grad = logits.div_(norm)
    grad.scatter_add_(1, targets[:, None], grad.new_full((len(targets), 1), -1.0))
    if head.softcap is not None:
        grad *= slope
    if head.scale != 1.0:
        grad *= head.scale
    return loss, grad if product.dtype == torch.float32 else product.copy_(grad)
