"""The engine in this process: the student that is trained or was loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation, context_of, generate, rehearse
from nt_lightning.files import digest
from nt_lightning.traces.formatting import PromptFormatter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Where a configuration comes from and how it is handled, not what is computed. The dtype stands
# in ``about`` itself, and all kinds of attention compute the same.
NOT_COMPUTED = {
    "_name_or_path",
    "_attn_implementation",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
}
# the same of peft's
NOT_ADAPTED = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version"}


class StudentEngine(Engine):
    """Generates with a model in this process.

    Args:
        model: In eval mode, on its device, with an attention that honours left padding.
        formatter: The run's formatter.
        batch_size: Responses at a time.
        agree: For a student whose weights are shared out over ranks, so that a forward pass is
            everybody's: says to all ranks whether this one has work and whether it was told to
            stop, and returns whether any has work. ``None``: this rank has the whole student.
        dtype: What is computed in, where that is not the dtype of the weights: under autocast, and
            with a quantised base.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        formatter: PromptFormatter,
        batch_size: int,
        agree: Callable[[bool, bool], bool] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.formatter = model, formatter
        self.batch_size: int = batch_size
        self.dtype = dtype or model.dtype
        self.is_collective = agree is not None
        self.agree = None if agree is None else lambda mine: agree(mine, self.is_told())
        self.family = str(model.config.model_type)
        self.context = context_of(model)
        self._weights: str | None = None

    def about(self) -> dict[str, Any]:
        """Digests of weights and configuration as they are now, dtype, tokenizer and template."""
        if self._weights is None:
            self._weights = weights_digest(self.model)
        return {
            "engine": "transformers",
            "weights": self._weights,
            "config": config_digest(self.model),
            "dtype": str(self.dtype).removeprefix("torch."),
            "formatter": digest(self.formatter.fingerprint()),
        }

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        limits: Limits,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> list[Generation]:
        """One response per prompt, in their order."""

        def report(done: int) -> None:
            limits.poll()
            on_progress(done)

        def keep(batch_size: int) -> None:
            self.batch_size = batch_size

        return generate(
            self.model,
            self.formatter,
            [prompt.ids for prompt in prompts],
            begun=[prompt.begun for prompt in prompts],
            max_new_tokens=[prompt.limit(sampling) for prompt in prompts],
            batch_size=self.batch_size,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            keys=[prompt.key for prompt in prompts],
            stop_loops=sampling.stop_loops,
            deadline=limits.deadline,
            max_total_tokens=limits.max_tokens,
            agree=self.agree,
            on_response=on_response,
            on_progress=report,
            on_batch_size=keep,
            keep_ids=False,
        )

    def rehearse(self, prompts: Sequence[Prompt]) -> None:
        """One new token for the longest prompts; later calls keep to the batch size that fits.

        Raises:
            UserError: Not even one of them fits, or one leaves no room in the model's context.
        """
        ids = [prompt.ids for prompt in prompts]
        self.batch_size = rehearse(
            self.model, self.formatter, ids, self.batch_size, agree=self.agree
        )

    def any_rank(self, mine: bool) -> bool:
        """Whether this rank or another says yes."""
        return mine if self.agree is None else self.agree(mine)


def config_digest(model: PreTrainedModel) -> str:
    """SHA-256 over the configuration of a model and of its adapters: what weights do not say.

    Positions, norms, windows, caps of logits, the scale of adapters. Entries without an effect on
    what is computed are left out, so that a copy of a student in another folder has its digest.
    """
    adapters = {
        name: _without(adapter.to_dict(), NOT_ADAPTED)
        for name, adapter in getattr(model, "peft_config", {}).items()
    }
    return digest([_without(model.config.to_dict(), NOT_COMPUTED), adapters])


def _without(value: Any, names: set[str]) -> Any:
    """A JSON value without entries of these names, in its dicts and theirs; sets are sorted."""
    if isinstance(value, Mapping):
        kept = {key: entry for key, entry in value.items() if key not in names}
        return {str(key): _without(entry, names) for key, entry in kept.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_without(entry, names) for entry in value]
    return value


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 over all parameters and persistent buffers, by name, shape, dtype and content.

    Of weights that are shared out every rank digests its own part, and all get the same digest; it
    depends then on how they are shared out.
    """
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        local = value.to_local() if hasattr(value, "to_local") else value
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        if isinstance(local, Tensor):
            flat = local.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            total.update(flat.numpy().data)
    own = total.hexdigest()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        parts: list[str] = [""] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        if len(set(parts)) > 1:
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return own
