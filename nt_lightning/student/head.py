"""The model's own output head as tensors, proved equal to the model's logits or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from nt_lightning.errors import UserError
from nt_lightning.student.loss import Head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD_TOLERANCE = 1e-3


def base_model(model: Any) -> PreTrainedModel:
    """The Hugging Face model itself, also under PEFT."""
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[no-any-return]


def backbone(model: Any) -> nn.Module:
    """The part in front of the head: its output holds ``last_hidden_state``."""
    inner = base_model(model)
    return getattr(inner, inner.base_model_prefix)  # type: ignore[no-any-return]


def head_of(model: Any) -> Head:
    """The output head of a causal LM, LoRA on it included.

    Knows ``final_logit_softcapping`` (Gemma 2), ``logit_scale`` (Cohere) and ``logits_scaling``
    (Granite). ``verify_head`` finds what it does not know.
    """
    inner = base_model(model)
    layer = inner.get_output_embeddings()
    config = inner.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(_local(_weight(layer)), _local(getattr(layer, "bias", None)), scale, softcap)


@torch.no_grad()
def verify_head(model: Any) -> None:
    """Compare ``head_of`` with the model's own logits on a few tokens.

    Raises:
        UserError: They differ: this family's head does something that the loss would leave out.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    vocab = base_model(model).config.get_text_config().vocab_size
    ids = torch.arange(1, 9, device=device)[None] % vocab
    hidden = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state
    ours = head_of(model).logits(hidden[0])
    theirs = model(input_ids=ids, use_cache=False).logits[0].float()
    model.train(was_training)
    gap = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1.0)
    if not gap <= HEAD_TOLERANCE:
        raise UserError(
            f"the output head of {type(base_model(model)).__name__} is not known: its logits "
            f"differ from ours by {gap:.2g} (allowed {HEAD_TOLERANCE}); the family is refused"
        )


def _local(value: Any) -> Any:
    """Of a replica on every device of a tensor-parallel group, this one's."""
    return value.to_local() if isinstance(value, DTensor) else value


def _weight(layer: Any) -> Tensor:
    """The head's weight [V, D]; with LoRA on it, the sum that its adapters stand for."""
    if not hasattr(layer, "base_layer"):
        return layer.weight  # type: ignore[no-any-return]
    weight = layer.base_layer.weight
    for name in layer.active_adapters:
        if name in layer.lora_A:
            product = layer.lora_B[name].weight @ layer.lora_A[name].weight
            weight = weight + layer.scaling[name] * product
    return weight  # type: ignore[no-any-return]
