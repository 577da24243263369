"""An engine whose student says what a test has written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation


class ScriptedEngine(Engine):
    """Every character is a token; a response is what ``says`` makes of what stands already.

    Args:
        says: From what a response is so far to all that would follow; the end is a stop token.
        context: Tokens of prompt and response together.
    """

    family = "llama"

    def __init__(self, says: Callable[[str], str], context: int | None = None) -> None:
        self.says, self.context = says, context
        self.calls: list[list[Prompt]] = []
        self.known = True

    def about(self) -> dict[str, Any]:
        return {"weights": "scripted"}

    def is_known(self) -> bool:
        return self.known

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

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
            assert self.decode(prompt.ids) == prompt.text + prompt.begun
            response = self._response(prompt, prompt.limit(sampling))
            on_response(index, response)
            out.append(replace(response, ids=()))
            on_progress(len(out))
        return out

    def _response(self, prompt: Prompt, room: int) -> Generation:
        assert room > 0
        if self.context is not None:
            room = min(room, self.context - len(prompt.ids))
            assert room > 0, "nothing fits behind the prompt"
        whole = self.says(prompt.begun)
        said, stopped = whole[:room], len(whole) < room
        ids = (*self.encode(said), *([0] if stopped else []))
        reason = "stop" if stopped else "length"
        return Generation(prompt.begun + said, len(ids), reason, tuple(ids))
