"""What answers prompts: the student in this process, or a server with the same model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nt_lightning.evaluation.generation import Generation

OnResponse = Callable[[int, Generation], None]

# Llama-3.1-8B-Instruct and Qwen2.5-7B-Instruct as NaturalThoughts (arXiv:2507.01921) evaluates
# them: temperature and top-p. What other families get is our choice.
PAPER_SAMPLING = {"llama": (0.6, 0.95), "qwen": (0.7, 1.0)}
OTHER_SAMPLING = PAPER_SAMPLING["llama"]


class Prompt(NamedTuple):
    """What a response is conditioned on.

    Args:
        key: Unique among the prompts of a call; the response draws from (seed, key) alone.
        ids: Token ids, with what the response is begun with at the end.
        text: The rendered prompt, without what the response is begun with.
        begun: What the response is begun with: the mode's prefix, or more of it.
        max_new_tokens: A limit of its own, below that of the sampling.
    """

    key: str
    ids: tuple[int, ...]
    text: str
    begun: str = ""
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen, and when a response is over.

    Args:
        max_new_tokens: Limit for each response.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling, in (0, 1].
        seed: Seed of the sampling.
        stop_loops: End a response that goes round in circles.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop_loops: bool = True


@dataclass(frozen=True)
class Limits:
    """When a call stops though responses are unfinished.

    Args:
        deadline: ``time.monotonic()`` at which generation stops.
        max_tokens: Generated tokens of all responses together.
        poll: Called now and then; what it raises ends the call.
    """

    deadline: float | None = None
    max_tokens: int | None = None
    poll: Callable[[], None] = lambda: None

    def without(self, num_tokens: int) -> Limits:
        """What is left after so many tokens."""
        if self.max_tokens is None:
            return self
        return replace(self, max_tokens=max(0, self.max_tokens - num_tokens))


class Engine(ABC):
    """Answers prompts; all engines answer alike, but for rounding.

    Attributes:
        family: Model type by its configuration (``llama``, ``qwen2``), for the paper's sampling.
    """

    family: str

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What a response depends on besides prompt and sampling, as far as is known; JSON."""

    def is_known(self) -> bool:
        """Whether ``about`` is all that a response depends on, so that one is found again by it."""
        return True

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        limits: Limits,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> list[Generation]:
        """One response per prompt, in their order.

        Every rank calls it together, also without prompts.

        Args:
            prompts: What to answer.
            sampling: How.
            limits: When to stop; what is unfinished then has the finish reason ``time``.
            on_response: Called with index and response as soon as a response is finished.
            on_progress: Called with the number of finished responses.
        """

    def rehearse(self, prompts: Sequence[Prompt]) -> None:  # noqa: B027 (nothing to try, by default)
        """Try the longest prompts, so that a lack of memory shows before the first step.

        Args:
            prompts: All that will be asked.

        Raises:
            UserError: Not even one fits.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text that goes on behind others; nothing is added."""

    def any_rank(self, mine: bool) -> bool:
        """Whether this rank or another says yes; all ranks of a sharded student ask together."""
        return mine

    def extended(self, prompt: Prompt, response: Generation, text: str) -> Prompt:
        """The prompt of a response that goes on behind ``text``.

        Args:
            prompt: What ``response`` is the response to.
            response: Its ``text`` begins with ``prompt.begun``; its ids do not.
            text: What is put behind it.
        """
        added = response.ids or self.encode(response.text[len(prompt.begun) :])
        return prompt._replace(
            ids=(*prompt.ids, *added, *self.encode(text)), begun=response.text + text
        )


def paper_sampling(family: str) -> tuple[float, float]:
    """Temperature and top-p of the paper's protocol for a model type, such as ``qwen2``."""
    for name, values in PAPER_SAMPLING.items():
        if family.startswith(name):
            return values
    return OTHER_SAMPLING
