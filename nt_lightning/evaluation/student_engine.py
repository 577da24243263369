"""The engine in this process: the student that is trained or was loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation, generate, rehearse
from nt_lightning.files import digest
from nt_lightning.traces.formatting import PromptFormatter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class StudentEngine(Engine):
    """Generates with a model in this process.

    Args:
        model: In eval mode, on its device, with an attention that honours left padding.
        formatter: The run's formatter.
        batch_size: Responses at a time.
        agree: For a student whose weights are shared out over ranks, so that a forward pass is
            everybody's: says to all ranks whether this one has work, and returns whether any has.
            ``None``: this rank has the whole student.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        formatter: PromptFormatter,
        batch_size: int,
        agree: Callable[[bool], bool] | None = None,
    ) -> None:
        self.model, self.formatter, self.batch_size = model, formatter, batch_size
        self.agree = agree
        self.family = str(model.config.model_type)
        self._weights: str | None = None

    def about(self) -> dict[str, Any]:
        """Digest of the weights as they are now, their dtype, tokenizer and template."""
        if self._weights is None:
            self._weights = weights_digest(self.model)
        return {
            "engine": "transformers",
            "weights": self._weights,
            "dtype": str(self.model.dtype).removeprefix("torch."),
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

        limit = sampling.max_new_tokens
        return generate(
            self.model,
            self.formatter,
            [prompt.ids for prompt in prompts],
            begun=[prompt.begun for prompt in prompts],
            max_new_tokens=[min(limit, prompt.max_new_tokens or limit) for prompt in prompts],
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
        )

    def rehearse(self, prompts: Sequence[Prompt]) -> None:
        """One new token for the longest prompts; later calls keep to the batch size that fits.

        Raises:
            UserError: Not even one of them fits.
        """
        ids = [prompt.ids for prompt in prompts]
        self.batch_size = rehearse(
            self.model, self.formatter, ids, self.batch_size, agree=self.agree
        )

    def any_rank(self, mine: bool) -> bool:
        """Whether this rank or another says yes."""
        return mine if self.agree is None else self.agree(mine)

    def encode(self, text: str) -> list[int]:
        """Ids of a text that goes on behind others."""
        return self.formatter.encode_texts([text])[0]


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
