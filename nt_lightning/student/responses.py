"""``predict``: the student's responses to a pool's questions, as JSONL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from nt_lightning.data.questions import QuestionBatch
from nt_lightning.errors import UserError
from nt_lightning.evaluation.generation import Generation, generate
from nt_lightning.files import replacing_file
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, ThinkMode

RESPONSES = "responses.jsonl"


@dataclass(frozen=True)
class ResponseSettings:
    """How ``predict`` lets the student answer.

    Args:
        mode: ``no_think``, ``adaptive`` or ``think``.
        max_new_tokens: Limit for one response; the paper has 16,384.
        batch_size: Questions at a time.
        temperature: 0 is greedy; the paper has 0.6 for Llama and 0.7 for Qwen students.
        top_p: Nucleus of the sampling.
        seed: Seed of the sampling; a response depends on (seed, id) alone.
    """

    mode: str = "think"
    max_new_tokens: int = 1024
    batch_size: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODE_NAMES:
            raise UserError(
                f"model.responses.mode is {self.mode!r}; allowed: {', '.join(MODE_NAMES)}"
            )
        if self.max_new_tokens < 1 or self.batch_size < 1:
            raise UserError(
                f"model.responses.max_new_tokens is {self.max_new_tokens} and batch_size "
                f"{self.batch_size}; allowed: 1 and more"
            )


def respond(
    model: Any,
    formatter: PromptFormatter,
    mode: ThinkMode,
    batch: QuestionBatch,
    settings: ResponseSettings,
    on_progress: Callable[[int], None],
) -> list[Generation]:
    """Responses to a batch's questions, in its order.

    Args:
        model: A student that generates.
        formatter: With its tokenizer.
        mode: How it is asked to think.
        batch: Questions.
        settings: How it answers.
        on_progress: Called with the number of finished responses, after every token.
    """
    return generate(
        model,
        formatter,
        [formatter.prompt_ids(question, mode) for question in batch.questions],
        begun=[mode.prefix] * len(batch.questions),
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        keys=batch.ids,
        on_progress=on_progress,
    )


class ResponseFile:
    """Responses of one rank, appended as they come; put together when all ranks are done.

    Args:
        folder: The run's folder.
        rank: This rank.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.part = folder / f".responses-{rank:05d}.jsonl"
        self.part.unlink(missing_ok=True)

    def append(
        self, batch: QuestionBatch, prompts: Sequence[str], mode: str, done: Sequence[Generation]
    ) -> None:
        """Add a batch's responses."""
        with self.part.open("a", encoding="utf-8") as out:
            rows = zip(batch.ids, batch.questions, prompts, done, strict=True)
            for row_id, question, prompt, generation in rows:
                row: dict[str, Any] = {
                    "id": row_id,
                    "question": question,
                    "mode": mode,
                    "prompt": prompt,
                    "response": generation.text,
                    "response_tokens": generation.num_tokens,
                    "finish_reason": generation.finish_reason,
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")

    def merge(self, world_size: int) -> Path:
        """Write all ranks' responses as one file, in the order of the pool.

        The ranks' lines take turns, read in binary: only a newline ends a line of JSONL, and
        U+2028 in a response does not.

        Raises:
            UserError: No rank wrote anything.
        """
        parts = [self.folder / f".responses-{rank:05d}.jsonl" for rank in range(world_size)]
        written = [part for part in parts if part.is_file()]
        if not any(part.stat().st_size for part in written):
            raise UserError(f"{self.folder}: there was no question to respond to")
        target = self.folder / RESPONSES
        with ExitStack() as stack:
            out = stack.enter_context(stack.enter_context(replacing_file(target)).open("wb"))
            ranks = [stack.enter_context(part.open("rb")) for part in written]
            for turn in zip_longest(*ranks, fillvalue=b""):
                out.writelines(turn)
        for part in written:
            part.unlink()
        return target
