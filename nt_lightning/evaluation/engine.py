"""What answers prompts: the student in this process, or a server with the same model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nt_lightning.evaluation.generation import Generation, decode
from nt_lightning.traces.formatting import PromptFormatter

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

    def limit(self, sampling: Sampling) -> int:
        """The most tokens that may be generated: its own limit, or the sampling's."""
        own, limit = self.max_new_tokens, sampling.max_new_tokens
        return limit if own is None else min(own, limit)


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
    """When a call stops though responses are unfinished, and what may stay of it.

    Args:
        deadline: ``time.monotonic()`` at which generation stops.
        max_tokens: Generated tokens of all responses together; of a served student prompts count,
            too.
        poll: Called now and then; what it raises ends the call.
        may_keep: Whether responses may lie on the disk behind the call; not of a confidential
            benchmark, nor where none is to be found again.
    """

    deadline: float | None = None
    max_tokens: int | None = None
    poll: Callable[[], None] = lambda: None
    may_keep: bool = True

    def without(self, num_tokens: int) -> Limits:
        """What is left after so many tokens."""
        if self.max_tokens is None:
            return self
        return replace(self, max_tokens=max(0, self.max_tokens - num_tokens))


class Engine(ABC):
    """Answers prompts; all engines answer alike, but for rounding.

    Attributes:
        family: Model type by its configuration (``llama``, ``qwen2``), for the paper's sampling.
        formatter: With the student's tokenizer.
        is_collective: Whether all ranks make every forward pass together.
        is_told: Whether a rank was told to stop; a collective engine asks all ranks before every
            forward pass, and raises ``EvaluationStopped`` on all of them.
        context: Tokens of a prompt and its response together that the student can read; ``None``
            if that is not known.
        batch_size: Responses at a time that the memory has room for, as far as is known; ``None``
            where that is the server's affair.
    """

    family: str
    formatter: PromptFormatter
    context: int | None = None
    batch_size: int | None = None
    is_collective: bool = False
    is_told: Callable[[], bool] = staticmethod(lambda: False)

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

        Every rank calls it together, also without prompts. Ids are told and then forgotten: those
        of all responses would need more memory than most students.

        Args:
            prompts: What to answer.
            sampling: How.
            limits: When to stop; what is unfinished then has the finish reason ``time``.
            on_response: Called with index and response as soon as a response is finished; here
                alone with its ids, if the engine knows them.
            on_progress: Called with the number of finished responses.
        """

    def rehearse(self, prompts: Sequence[Prompt]) -> None:  # noqa: B027 (nothing to try, by default)
        """Try the longest prompts, so that a lack of memory shows before the first step.

        Args:
            prompts: All that will be asked.

        Raises:
            UserError: Not even one fits, or one leaves no room in the student's context.
        """

    def encode(self, text: str) -> list[int]:
        """Ids of a text that goes on behind others; nothing is added."""
        return self.formatter.encode_texts([text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a response's ids, without special tokens; think tags stay."""
        return decode(self.formatter, ids)

    def any_rank(self, mine: bool) -> bool:
        """Whether this rank or another says yes; all ranks of a sharded student ask together."""
        return mine


def paper_sampling(family: str) -> tuple[float, float]:
    """Temperature and top-p of the paper's protocol for a model type, such as ``qwen2``."""
    for name, values in PAPER_SAMPLING.items():
        if family.startswith(name):
            return values
    return OTHER_SAMPLING
