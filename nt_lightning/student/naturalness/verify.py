"""Proof on a few tokens that a model family scores runs as it would score them alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from nt_lightning.errors import UserError
from nt_lightning.student.attention import padded_backend
from nt_lightning.student.head import backbone, base_model
from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.layout import ResponseTokens, ScoreSpec, plan_response
from nt_lightning.student.naturalness.rows import make_batch

TOLERANCE = 1e-3
FEW_LAYERS, FEW_WORDS = 6, 64
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# Rotary embeddings that transformers changes for all of a row when one position in it is beyond
# the length before the extension.
ROW_ROPES = {"dynamic", "longrope"}


def exact_context(config: Any) -> int:
    """Tokens that a student reads at once without a change of its rotary embedding.

    With embeddings of ``ROW_ROPES`` that is the length before the extension: beyond it the scores
    of a response would depend on what stands beside it in the row.

    Args:
        config: The text model's configuration.
    """
    context = int(getattr(config, "max_position_embeddings", None) or 2**31)
    rope = getattr(config, "rope_parameters", None) or {}
    for kind in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if kind.get("rope_type") in ROW_ROPES:
            context = min(context, int(kind.get("original_max_position_embeddings") or context))
    return context


@torch.no_grad()
def verify_runs(model: Any) -> None:
    """Compare the hidden states of every run in a packed row with the model's own of it alone.

    They are compared in float32. A student in bfloat16 differs from itself by more than a leak of
    one token would make, so a small one of its family, with random weights, stands for it.

    Raises:
        UserError: They differ, or a layer is neither full nor sliding-window attention: the family
            does something in its attention that the layout would leave out.
    """
    inner = base_model(model)
    config = inner.config.get_text_config()
    if unknown := set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS:
        raise UserError(
            f"{type(inner).__name__} has layers of {', '.join(sorted(unknown))}; naturalness is "
            f"exact for {' and '.join(sorted(KNOWN_LAYERS))} alone: the family is refused"
        )
    compared = model if model.dtype == torch.float32 else _small_one(inner)
    before, training = base_model(compared).config._attn_implementation, compared.training
    compared.eval()
    # a block of FlexAttention has 128 tokens
    gap = _gap(compared, 8 if compared.device.type == "cuda" else 1)
    base_model(compared).set_attn_implementation(before)
    compared.train(training)
    if not gap <= TOLERANCE:
        raise UserError(
            f"the attention of {type(inner).__name__} is not known: hidden states of packed runs "
            f"differ from the model's own by {gap:.2g} (allowed {TOLERANCE}); the family is refused"
        )


def _small_one(inner: Any) -> Any:
    """A model of the same class and configuration, but with few layers and words, in float32."""
    config = copy.deepcopy(inner.config.get_text_config())
    config.vocab_size = FEW_WORDS
    config.num_hidden_layers = min(FEW_LAYERS, config.num_hidden_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    config.pad_token_id = config.bos_token_id = config.eos_token_id = None
    device = next(inner.parameters()).device
    with torch.random.fork_rng(), torch.device(device):
        return type(inner)._from_config(config, dtype=torch.float32)


def _gap(model: Any, times: int) -> float:
    """Largest difference of hidden states, relative to the largest state (or 1).

    Steps have ``times`` 1, 5 and 6 tokens.
    """
    inner = base_model(model)
    device = next(model.parameters()).device
    ids = np.arange(1, 8 + 17 * times) % inner.config.get_text_config().vocab_size
    tokens = ResponseTokens("check", ids[:7], ids[7:], times * np.array([5, 1, 6, 5]))
    spec = ScoreSpec(windows=(0, 1))
    batch = make_batch([plan_response(tokens, spec)], spec, 10**6)
    (row,) = batch.rows
    inputs = {"use_cache": False}
    inner.set_attn_implementation(attention.NT_RUNS)
    packed = backbone(model)(
        input_ids=row.input_ids.to(device),
        position_ids=row.position_ids.to(device),
        attention_mask=None,
        run_layout=row.layout,
        **inputs,
    ).last_hidden_state[0]
    inner.set_attn_implementation(padded_backend(inner))
    gap, begin = 0.0, 0
    for prefix, runs in row.layout.segments:
        question = row.input_ids[:, begin : begin + prefix]
        begin += prefix
        for length in runs:
            alone = torch.cat([question, row.input_ids[:, begin : begin + length]], dim=1)
            state = backbone(model)(input_ids=alone.to(device), **inputs).last_hidden_state[0]
            difference = (packed[begin : begin + length] - state[prefix:]).abs().max()
            gap = max(gap, float(difference / state.abs().max().clamp_min(1.0)))
            begin += length
    return gap
