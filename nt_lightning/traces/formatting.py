"""One formatter for training and inference: questions to prompt ids, traces to response ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN, ThinkMode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_SENTINEL = "NT-SENTINEL"


class Example(NamedTuple):
    """What is trained on: a question in a mode, with reasoning (System-2) or without (System-1)."""

    question: str
    reasoning: str | None
    answer: str
    mode: ThinkMode


class EncodedExample(NamedTuple):
    """``input_ids[num_prompt:]`` is the response and is labelled; the rest is the prompt."""

    input_ids: list[int]
    num_prompt: int


def response_text(reasoning: str | None, answer: str) -> str:
    """The response as text; a System-1 response is the answer alone, with no empty block."""
    if reasoning is None:
        return answer
    return f"{THINK_OPEN}\n{reasoning}\n{THINK_CLOSE}\n\n{answer}"


class PromptFormatter:
    """Renders prompts and responses with a tokenizer's own chat template.

    The prompt is the template's rendering of one user turn with ``add_generation_prompt=True``,
    in training as at inference. ``<think>`` is tokenised apart in both, so that the seam behind a
    prefilled ``<think>`` is the one that was trained on. A template that ends its generation
    prompt with ``<think>`` loses that tag: the mode decides (our choice).

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        system_prompt: A system turn in front of the question; ``None`` leaves the template's own.

    Raises:
        UserError: The tokenizer has no chat template, or the template ends no turn with a token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, system_prompt: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.system_prompt = system_prompt
        if not tokenizer.chat_template:
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; take an "
                "instruction-tuned model or put a chat_template.jinja into its folder"
            )
        self.stop_token_id = self._find_stop_token()
        self.think_open_ids = self.encode_texts([THINK_OPEN])[0]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of rendered texts; the tokenizer adds nothing of its own."""
        if not texts:
            return []
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def prompt_text(self, question: str, mode: ThinkMode) -> str:
        """The prompt up to the place where the response begins, without the mode's prefix."""
        text = self._render([{"role": "user", "content": mode.user_text(question)}], prompt=True)
        opened = text.rstrip()
        return opened.removesuffix(THINK_OPEN) if opened.endswith(THINK_OPEN) else text

    def prompt_ids(self, question: str, mode: ThinkMode) -> list[int]:
        """Ids that a response is conditioned on at inference: the prompt and the mode's prefix."""
        prompt = self.encode_texts([self.prompt_text(question, mode)])[0]
        return prompt + (self.encode_texts([mode.prefix])[0] if mode.prefix else [])

    def encode(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Ids and prompt length of training examples; the stop token is the last label."""
        prompts = self.encode_texts([self.prompt_text(e.question, e.mode) for e in examples])
        bodies = self.encode_texts(
            [response_text(e.reasoning, e.answer).removeprefix(THINK_OPEN) for e in examples]
        )
        return [
            EncodedExample(
                [
                    *prompt,
                    *(self.think_open_ids if example.reasoning is not None else ()),
                    *body,
                    self.stop_token_id,
                ],
                len(prompt),
            )
            for example, prompt, body in zip(examples, prompts, bodies, strict=True)
        ]

    def fingerprint(self) -> dict[str, object]:
        """What the ids depend on besides the texts: part of every cache key."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return {
            "tokenizer": backend.to_str() if backend is not None else self.tokenizer.name_or_path,
            "chat_template": self.tokenizer.chat_template,
            "system_prompt": self.system_prompt,
            "rendered": self.prompt_text(_SENTINEL, ThinkMode("no_think", "")),
            "stop_token_id": self.stop_token_id,
        }

    def _render(self, messages: list[dict[str, str]], *, prompt: bool) -> str:
        if self.system_prompt is not None:
            messages = [{"role": "system", "content": self.system_prompt}, *messages]
        return self.tokenizer.apply_chat_template(  # type: ignore[no-any-return]
            messages, tokenize=False, add_generation_prompt=prompt
        )

    def _find_stop_token(self) -> int:
        """The token with which the template ends an assistant turn (it is not always ``eos``)."""
        turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": _SENTINEL}]
        tail = self._render(turns, prompt=False).rpartition(_SENTINEL)[2]
        ids = self.encode_texts([tail.lstrip()])[0] if tail.strip() else []
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        if ids and ids[0] in special:
            return int(ids[0])
        if self.tokenizer.eos_token_id is None:
            raise UserError(
                f"the chat template of {self.tokenizer.name_or_path!r} ends an assistant turn with "
                f"{tail!r}, which is no special token, and the tokenizer has no eos_token"
            )
        return int(self.tokenizer.eos_token_id)
