"""FLOPs of training, from a student's shapes and the traces' own lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from nt_lightning.data.plan import Ints
from nt_lightning.forecast.weights import layers_of
from nt_lightning.student.head import backbone, base_model

Floats = npt.NDArray[np.float64]


class Work(NamedTuple):
    """FLOPs of a student; a multiplication and an addition are two.

    ``forward`` and ``trained`` are of products with weights, for each token; ``head`` for each
    labelled token; ``attention`` for each pair of a token and one that it sees, in a layer of each
    window (``None``: all tokens before it).
    """

    forward: float
    trained: float  # forward and backward
    head: float  # forward and backward
    attention: dict[int | None, float]  # forward

    def model_flops(self, lengths: Ints, labels: Ints) -> Floats:
        """FLOPs that training on traces needs, [N]: forward and backward, nothing twice."""
        pairs = self._attention(lengths)
        return self.trained * lengths + self.head * labels + 3 * pairs

    def recomputed(self, lengths: Ints, every_n_layers: int) -> Floats:
        """FLOPs of the layers that activation checkpointing goes through once more, [N].

        An upper bound: torch ends a layer's recomputation where no gradient needs the rest, in
        most families in front of its last product.
        """
        if not every_n_layers:
            return np.zeros(len(lengths))
        return (self.forward * lengths + self._attention(lengths)) / every_n_layers

    def _attention(self, lengths: Ints) -> Floats:
        sums = [each * seen_pairs(lengths, window) for window, each in self.attention.items()]
        return np.sum(sums, axis=0)


def seen_pairs(lengths: Ints, window: int | None) -> Floats:
    """Pairs (token, token it sees) of causal attention in each trace, [N].

    Args:
        lengths: Tokens of each trace.
        window: A token sees itself and the ``window - 1`` before it; ``None``: all before it.
    """
    near = lengths if window is None else np.minimum(lengths, window)
    return near * (near + 1.0) / 2 + (lengths - near) * near.astype(np.float64)


def work_of(model: Any) -> Work:
    """FLOPs of a student, on whatever device.

    Two for each weight of a product in the forward pass, two for the gradient of its input, two
    for its own where it is trained: 6 N a token, 4 N where frozen. Embeddings, norms and
    activation functions are left out, and that gradients end at the first layer's input under LoRA
    is not seen. Of experts those that a token is sent to count.

    Args:
        model: The student, with its adapters.

    Source: Kaplan et al. (arXiv:2001.08361), section 2.1; the head on labelled tokens alone and
        attention by each trace's length are ours.
    """
    config = base_model(model).config.get_text_config()
    head = base_model(model).get_output_embeddings()
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    forward = trained = 0.0
    for weight in backbone(model).parameters():
        if weight.ndim < 2 or id(weight) in embedded:
            continue
        share = _share_of_experts(config, weight.shape[0]) if weight.ndim == 3 else 1.0
        once = 2.0 * weight.numel() * share
        forward += once
        trained += (3 if weight.requires_grad else 2) * once
    weight = getattr(head, "base_layer", head).weight
    own_gradient = any(p.requires_grad for p in head.parameters())
    head_flops = (6.0 if own_gradient else 4.0) * weight.numel()
    return Work(forward, trained, head_flops, _attention_of(model, config))


def _share_of_experts(config: Any, num_experts: int) -> float:
    per_token = getattr(config, "num_experts_per_tok", None)
    return per_token / num_experts if per_token else 1.0


def _attention_of(model: Any, config: Any) -> dict[int | None, float]:
    """Forward FLOPs of a pair (scores, and the sum of values), summed over layers of a window."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    found: dict[int | None, float] = {}
    for layer in layers_of(model):
        window = getattr(getattr(layer, "self_attn", layer), "sliding_window", None)
        found[window] = found.get(window, 0.0) + 4.0 * heads * size
    return found
