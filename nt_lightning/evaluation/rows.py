"""Responses that wait and responses under way: what both ways of decoding share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nt_lightning.evaluation.loops import CHECK_EVERY, goes_round
from nt_lightning.evaluation.outcomes import FinishReason
from nt_lightning.evaluation.sampling import sample, uniform_draws


@dataclass(frozen=True)
class Decoding:
    """How all responses of one call are decoded.

    Args:
        stop_ids: Ids that end a response.
        temperature: 0 is greedy.
        top_p: Nucleus of the sampling.
        seed: Seed of the sampling.
        deadline: ``time.monotonic()`` at which decoding stops.
        max_total_tokens: Generated tokens of all responses at which decoding stops.
        stop_loops: End a response that goes round in circles.
        on_row: Told a response that has ended.
        on_progress: Told the number of finished responses after every token.
    """

    stop_ids: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    deadline: float | None = None
    max_total_tokens: int | None = None
    stop_loops: bool = True
    on_row: Callable[[Row], None] = lambda _: None
    on_progress: Callable[[int], None] = lambda _: None

    def reason_to_end(self, row: Row) -> FinishReason | None:
        """Why a response ends with its last token; ``None`` if it goes on."""
        if row.ids[-1] in self.stop_ids:
            return "stop"
        if len(row.ids) >= row.max_new_tokens:
            return "length"
        if self.stop_loops and len(row.ids) % CHECK_EVERY == 0 and goes_round(row.ids):
            return "loop"
        return None


@dataclass
class Row:
    """One response.

    Args:
        index: Place among the prompts of the call.
        prompt: Prompt ids.
        key: Name of the response, for the sampling.
        max_new_tokens: Its limit.
        ids: What was generated, the stop token included.
        finish_reason: ``None`` until the response has ended.
        draws: Its uniform numbers, while it is under way.
    """

    index: int
    prompt: Sequence[int]
    key: str
    max_new_tokens: int
    ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    draws: list[float] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether the response has ended."""
        return self.finish_reason is not None

    @property
    def all_ids(self) -> list[int]:
        """Prompt and response so far."""
        return [*self.prompt, *self.ids]

    @property
    def length(self) -> int:
        """Tokens of prompt and response so far."""
        return len(self.prompt) + len(self.ids)


class Work:
    """All responses of one call; the longest prompts come first.

    Args:
        decoding: How.
        rows: The responses.
    """

    def __init__(self, decoding: Decoding, rows: Iterable[Row]) -> None:
        self.decoding = decoding
        self.waiting = deque(sorted(rows, key=lambda row: -len(row.prompt)))
        self.num_done = self.num_tokens = 0
        self._running: list[Row] = []

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed or the tokens are spent."""
        deadline, limit = self.decoding.deadline, self.decoding.max_total_tokens
        if limit is not None and self.num_tokens >= limit:
            return True
        return deadline is not None and time.monotonic() >= deadline

    @property
    def unfinished(self) -> list[Row]:
        """Responses that have not ended, begun or not."""
        return [*(row for row in self._running if not row.is_done), *self.waiting]

    def take(self, count: int) -> list[Row]:
        """Begin the next responses."""
        taken = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        if self.decoding.temperature > 0:
            for row in taken:
                row.draws = uniform_draws(self.decoding.seed, row.key, row.max_new_tokens)
        self._running = [row for row in self._running if not row.is_done] + taken
        return taken

    def put_back(self) -> None:
        """Let what is under way wait again, in front, with the tokens that it has."""
        self.waiting.extendleft(row for row in reversed(self._running) if not row.is_done)
        self._running = []

    def choose(self, rows: Sequence[Row], logits_BV: Tensor) -> Tensor:
        """Next token ids [B]; a row that has ended gets any."""
        if self.decoding.temperature == 0:
            return logits_BV.argmax(dim=-1)
        draws = [0.0 if row.is_done else row.draws[len(row.ids)] for row in rows]
        return sample(
            logits_BV, draws, temperature=self.decoding.temperature, top_p=self.decoding.top_p
        )

    def append(self, rows: Sequence[Row], tokens: Sequence[int]) -> None:
        """Add a token to each response that has not ended, and end those for which it is time."""
        for row, token in zip(rows, tokens, strict=True):
            if row.is_done:
                continue
            row.ids.append(token)
            self.num_tokens += 1
            row.finish_reason = self.decoding.reason_to_end(row)
            if row.is_done:
                self.num_done += 1
                row.draws = []
                self.decoding.on_row(row)
        self.decoding.on_progress(self.num_done)


def left_padded(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T] of prompts and responses so far; what the pad is does not matter."""
    width = max(row.length for row in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for place, row in enumerate(rows):
        ids_BT[place, width - row.length :] = torch.tensor(row.all_ids)
        mask_BT[place, width - row.length :] = 1
    return ids_BT.to(device), mask_BT.to(device)
