"""Next-token loss on labelled positions alone, in chunks: full logits never exist."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nt_lightning.data.batch import IGNORE_INDEX

CHUNK = 1024  # rows of logits at a time, our choice: 128k words x 1,024 x 4 bytes is 0.5 GB


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


def next_token_loss(hidden: Tensor, labels: Tensor, head: Head, chunk: int = CHUNK) -> LossSum:
    """Sum of next-token cross-entropy over the labelled positions of one packed row.

    Position t - 1 predicts ``labels[t]``; the shift happens here and nowhere else. A trace's first
    token is never labelled (a prompt stands before every response), so no label is predicted from
    the trace in front of it.

    Args:
        hidden: Final hidden states, [T, D], any float dtype; the loss is computed in float32.
        labels: Token ids aligned with ``input_ids``, [T]; ``IGNORE_INDEX`` drops a position.
        head: The model's own output head.
        chunk: Rows of logits that exist at one time.

    Returns:
        The sum, each label's loss and its position; zero (never NaN) without labels, with
        gradients of zero for every parameter of the head and for ``hidden``.

    Raises:
        ValueError: ``hidden`` and ``labels`` differ in T.

    Source: masked-question SFT, NaturalThoughts (arXiv:2507.01921), section 3.
    """
    if hidden.shape[0] != labels.shape[0]:
        raise ValueError(f"hidden has {hidden.shape[0]} positions, labels {labels.shape[0]}")
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
        matrix = weight.to(rows.dtype)
        grad_rows = torch.zeros_like(rows) if want_rows else None
        grad_weight = None
        grad_bias = torch.zeros_like(bias) if bias is not None and want_bias else None
        losses = torch.empty(len(targets), dtype=torch.float32, device=rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                loss, grad = _chunk_loss(
                    rows[part],
                    matrix,
                    bias,
                    targets[part],
                    scale,
                    softcap,
                    any(ctx.needs_input_grad),
                )
                losses[part] = loss
                if grad is None:
                    continue
                if grad_rows is not None:
                    torch.mm(grad, matrix, out=grad_rows[part])
                if want_weight:
                    grad_weight = _add_product(grad_weight, grad, rows[part], weight.dtype)
                if grad_bias is not None:
                    grad_bias += grad.sum(0).to(grad_bias.dtype)
        if want_weight and grad_weight is None:
            grad_weight = torch.zeros_like(weight)
        ctx.grads = (grad_rows, grad_weight, grad_bias)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Scale the stored gradients by the loss's own, in place: they are used once."""
        grads, ctx.grads = ctx.grads, None
        return (*(None if g is None else g.mul_(grad_total) for g in grads), *(None,) * 4)


def _chunk_loss(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scale: float,
    softcap: float | None,
    want_grad: bool,
) -> tuple[Tensor, Tensor | None]:
    """Loss [n] of a chunk and its gradient with respect to the linear map's output, [n, V]."""
    logits = (rows @ weight.T).float()
    if bias is not None:
        logits += bias.float()
    if scale != 1.0:
        logits *= scale
    if softcap is not None:
        logits = (logits / softcap).tanh_()
        slope = 1 - logits.square() if want_grad else logits
        logits *= softcap
    # In place from here on: a chunk's logits are the largest tensor there is.
    logits -= logits.amax(dim=-1, keepdim=True)
    wanted = logits.gather(1, targets[:, None])
    logits.exp_()
    norm = logits.sum(dim=-1, keepdim=True)
    loss = (norm.log() - wanted).squeeze(1)
    if not want_grad:
        return loss, None
    grad = logits.div_(norm)
    grad.scatter_add_(1, targets[:, None], grad.new_full((len(targets), 1), -1.0))
    if softcap is not None:
        grad *= slope
    if scale != 1.0:
        grad *= scale
    return loss, grad.to(rows.dtype)


def _add_product(total: Tensor | None, grad: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """``total + grad.T @ rows``, accumulated in ``dtype``; the first chunk makes the total."""
    if total is None:
        return (grad.T @ rows).to(dtype)
    if total.dtype == grad.dtype:
        return total.addmm_(grad.T, rows)
    return total.add_(grad.T @ rows)
