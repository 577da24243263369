"""From a Lightning checkpoint to a Hugging Face folder that is proved to be the same model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.files import replacing_folder, write_json
from nt_lightning.models import load_tokenizer, missing_model, model_path
from nt_lightning.student.head import base_model
from nt_lightning.student.loading import LoRA, load_student
from nt_lightning.student.model_card import model_card
from nt_lightning.student.shards import LazyTensors
from nt_lightning.student.trained import Checkpoint
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_MODES_FILE

TOLERANCE = 1e-3  # of the largest logit, our choice; the same weights give the same logits
_QUESTION = "What is 3 + 4?"


class Written(NamedTuple):
    """What was written; ``gap`` is the largest absolute difference of logits after reloading."""

    num_parameters: int
    num_bytes: int
    gap: float


def write_folder(
    checkpoint: Checkpoint, folder: Path, dtype_name: str, *, merge_lora: bool = True
) -> Written:
    """Write a Hugging Face folder, load it and compare; whole and proved, or absent.

    In memory there is one copy of the weights in ``dtype_name`` and one tensor of the checkpoint,
    and later the loaded folder in place of both; pages of mapped files come on top, which the
    kernel takes back when it needs them. Adapters that are merged need the base in float32 and one
    product of theirs; it is rounded in place.

    Args:
        checkpoint: What ``read_checkpoint`` of ``trained`` read.
        folder: The new folder.
        dtype_name: ``float32`` or ``bfloat16``.
        merge_lora: Add LoRA adapters to the weights; false writes them alone.

    Raises:
        UserError: The weights do not fit the base model, or the folder's logits are others.
    """
    dtype: torch.dtype = getattr(torch, dtype_name)
    tokenizer = load_tokenizer(checkpoint.model_name)
    formatter = PromptFormatter(tokenizer, checkpoint.system_prompt)
    prompt = torch.tensor([formatter.prompt_ids(_QUESTION, checkpoint.modes.think)])
    facts: dict[str, Any] = {"number format": dtype_name}
    if checkpoint.lora is None:
        model = _model_of(checkpoint.weights, checkpoint.model_name, dtype)
    elif merge_lora:
        facts["adapters"] = "merged into the weights"
        merged = _merged_weights(checkpoint, checkpoint.lora, prompt, dtype)
        model = _model_of(merged, checkpoint.model_name, dtype)
        del merged
    else:
        facts["adapters"] = "alone in this folder; the base model is loaded with them"
        model = _adapters(checkpoint, checkpoint.lora, dtype)
    base_model(model).generation_config = generation_config(formatter)
    expected = _logits(model, prompt)
    with replacing_folder(folder) as partial:
        model.save_pretrained(partial)
        base_model(model).generation_config.save_pretrained(partial)
        del model
        tokenizer.save_pretrained(partial)
        prompting = {"system_prompt": checkpoint.system_prompt}
        write_json(partial / THINK_MODES_FILE, checkpoint.modes.to_dict() | prompting)
        for file in partial.glob("*.safetensors"):  # written for their owner's eyes alone
            file.chmod((partial / THINK_MODES_FILE).stat().st_mode)
        gap = _compare(expected, _logits(_reload(partial), prompt), "the folder, loaded again")
        written = Written(_num_parameters(partial), _num_bytes(partial), gap)
        facts["parameters"] = f"{written.num_parameters:,}"
        facts["logits after reloading"] = f"differ by at most {gap:.2g}"
        text = model_card(checkpoint, formatter, folder.name, facts)
        (partial / "README.md").write_text(text, encoding="utf-8")
    return written


def generation_config(formatter: PromptFormatter) -> Any:
    """Stop at the template's stop token or ``eos``; no sampling settings of the base model."""
    from transformers import GenerationConfig

    tokenizer = formatter.tokenizer
    stops = dict.fromkeys([formatter.stop_token_id, tokenizer.eos_token_id])
    eos = [token for token in stops if token is not None]
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos if len(eos) > 1 else eos[0],
        pad_token_id=pad if pad is not None else eos[-1],
    )


# -- building ----------------------------------------------------------------------------------


def _model_of(weights: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Any:
    """A model of the base's configuration with these weights, and no others, in ``dtype``.

    It is filled tensor by tensor; one that has its dtype already is shared.
    """
    from accelerate import init_empty_weights
    from accelerate.utils import set_module_tensor_to_device
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model_path(name))
    except (OSError, ValueError) as error:
        raise UserError(missing_model(name, error)) from None
    with init_empty_weights(include_buffers=False):  # no checkpoint holds rotary frequencies
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    blank = model.state_dict()
    _check_shapes(blank, weights, name)
    tied, plan = model.all_tied_weights_keys, model._get_dtype_plan(dtype)
    for key in (name for name in blank if name not in tied):
        kept = [precise for part, precise in plan.items() if part in key]  # in float32 always
        set_module_tensor_to_device(model, key, "cpu", weights[key], *kept[:1])
    model.tie_weights()
    for key in tied:
        rows = zip(weights[key].split(1024), model.get_parameter(key).split(1024), strict=True)
        same = all(torch.equal(ours.to(theirs.dtype), theirs) for ours, theirs in rows)
        assert same, f"{key} was not tied in training"
    return model.eval()


def _check_shapes(blank: Mapping[str, Tensor], weights: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights that are not those of the base model."""
    found = weights.outline if isinstance(weights, LazyTensors) else weights
    for key in sorted(blank.keys() | found.keys()):
        ours, theirs = (part[key].shape if key in part else None for part in (blank, found))
        if ours is None or theirs is None or ours != theirs:
            raise UserError(
                f"the checkpoint does not fit the base model {name!r}: {key} is "
                f"{'absent' if theirs is None else list(theirs)} in the checkpoint and "
                f"{'absent' if ours is None else list(ours)} in the model"
            )


def _with_adapters(checkpoint: Checkpoint, lora: LoRA, base: Any) -> Any:
    """A float32 base with the checkpoint's adapters on it."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **asdict(lora)))
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    if different := sorted(wanted ^ checkpoint.weights.keys()):
        raise UserError(
            f"the checkpoint's adapters do not fit {checkpoint.model_name!r}: {len(different)} "
            f"names differ, the first is {different[0]}"
        )
    model.load_state_dict(checkpoint.weights, strict=False)
    return model.eval()


def _merged_weights(
    checkpoint: Checkpoint, lora: LoRA, prompt: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Base plus adapters, added and proved by the logits in float32, then rounded to ``dtype``.

    Adapters of a quantised base are added to what that base computes with, its dequantised
    weights: they were trained to correct these (our choice).
    """
    base = load_student(checkpoint.model_name, quantization=checkpoint.quantization)
    if checkpoint.quantization is not None:
        base = base.dequantize().float()
    model = _with_adapters(checkpoint, lora, base)
    expected = _logits(model, prompt)
    merged = model.merge_and_unload()
    _compare(expected, _logits(merged, prompt), "the base with merged adapters")
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(dtype)
    return dict(merged.state_dict())


def _adapters(checkpoint: Checkpoint, lora: LoRA, dtype: torch.dtype) -> Any:
    """A PEFT model whose adapters are rounded to ``dtype``; ``save_pretrained`` writes them alone.

    They stay float32 in memory and in the file, as PEFT computes with them.
    """
    model = _with_adapters(checkpoint, lora, load_student(checkpoint.model_name))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype).float()
    return model


# -- proving -----------------------------------------------------------------------------------


def _reload(folder: Path) -> Any:
    """The folder as a user loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def _logits(model: Any, prompt: Tensor) -> Tensor:
    return model(input_ids=prompt, use_cache=False).logits[0].float()  # type: ignore[no-any-return]


def _compare(expected: Tensor, found: Tensor, what: str) -> float:
    gap = float((expected - found).abs().max())
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not gap <= allowed:
        raise UserError(
            f"{what} gives other logits than the checkpoint: they differ by {gap:.2g}, allowed is "
            f"{allowed:.2g}; nothing was written"
        )
    return gap


def _num_parameters(folder: Path) -> int:
    from safetensors import safe_open

    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    return count


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
