"""An engine whose student says what a test has written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation


class ScriptedEngine(Engine):
    """Every character is a token; a response is what ``says`` makes of what stands already.

    Args:
        says: From what a response is so far to all that would follow; the end is a stop token.
    """

    family = "llama"

    def __init__(self, says: Callable[[str], str]) -> None:
        self.says = says
        self.calls: list[list[Prompt]] = []
        self.known = True

    def about(self) -> dict[str, Any]:
        return {"weights": "scripted"}

    def is_known(self) -> bool:
        return self.known

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        limits: Limits,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> list[Generation]:
        self.calls.append(list(prompts))
        out = []
        for index, prompt in enumerate(prompts):
            assert "".join(map(chr, prompt.ids)) == prompt.text + prompt.begun
            room = min(sampling.max_new_tokens, prompt.max_new_tokens or sampling.max_new_tokens)
            whole = self.says(prompt.begun)
            said, stopped = whole[:room], len(whole) < room
            ids = (*self.encode(said), *([0] if stopped else []))
            reason = "stop" if stopped else "length"
            out.append(Generation(prompt.begun + said, len(ids), reason, tuple(ids)))
            on_response(index, out[-1])
        on_progress(len(out))
        return out
