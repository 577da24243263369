"""One formatter for training and inference: questions to prompt ids, traces to response ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN, ThinkMode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTINEL = "NT-SENTINEL"
# <think> (DeepSeek-R1's distillates), </think> (DeepSeek-V3.1) or both (Qwen3 without thinking)
_TEMPLATE_THINK = re.compile(rf"({THINK_OPEN}\s*)?({THINK_CLOSE}\s*)?\Z")
_TAGS = (THINK_OPEN, THINK_CLOSE)


class Example(NamedTuple):
    """What is trained on: a question in a mode, with reasoning (System-2) or without (System-1).

    ``id`` is the trace's, for messages.
    """

    question: str
    reasoning: str | None
    answer: str
    mode: ThinkMode
    id: str = ""


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
    in training as at inference. The mode's prefix, else ``<think>``, is tokenised apart in both,
    so that the seam behind a prefilled ``<think>`` is the one that was trained on. A template
    that ends its generation prompt with think tags loses them: the mode decides (our choice).

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        system_prompt: A system turn in front of the question; ``None`` leaves the template's own.

    Raises:
        UserError: The tokenizer has no chat template, the template takes no system turn, or it
            ends no turn with a token.
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
        self._prefixes: dict[str, list[int]] = {"": [], THINK_OPEN: self.think_open_ids}

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of rendered texts; the tokenizer adds and cuts off nothing."""
        if not texts:
            return []
        backend = self._backend()
        if backend is None:
            return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # type: ignore[return-value]
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def prompt_text(self, question: str, mode: ThinkMode) -> str:
        """The prompt up to the place where the response begins, without the mode's prefix."""
        text = self._render([{"role": "user", "content": mode.user_text(question)}], prompt=True)
        return _TEMPLATE_THINK.sub("", text, count=1) if text.rstrip().endswith(_TAGS) else text

    def prompt_ids(self, question: str, mode: ThinkMode) -> list[int]:
        """Ids that a response is conditioned on at inference: the prompt and the mode's prefix."""
        return self.encode_texts([self.prompt_text(question, mode)])[0] + self._ids(mode.prefix)

    def encode(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Ids and prompt length of training examples; the stop token is the last label.

        Raises:
            UserError: A response does not begin with its mode's prefix, or holds the stop token.
        """
        parts = [_prefix_and_body(example) for example in examples]
        prompts = self.encode_texts([self.prompt_text(e.question, e.mode) for e in examples])
        bodies = self.encode_texts([body for _, body in parts])
        encoded = []
        for example, prompt, (prefix, _), body in zip(
            examples, prompts, parts, bodies, strict=True
        ):
            if self.stop_token_id in body:
                raise UserError(
                    f"trace {example.id}: the response to {example.question[:60]!r} holds the "
                    f"stop token {self.tokenizer.convert_ids_to_tokens(self.stop_token_id)!r} "
                    "as text; a student would learn to stop there: mend or remove the trace"
                )
            ids = [*prompt, *self._ids(prefix), *body, self.stop_token_id]
            encoded.append(EncodedExample(ids, len(prompt)))
        return encoded

    def fingerprint(self) -> dict[str, object]:
        """What the ids depend on besides the texts: part of every cache key."""
        backend = self._backend()
        return {
            "tokenizer": backend.to_str() if backend is not None else self.tokenizer.name_or_path,
            "chat_template": self.tokenizer.chat_template,
            "system_prompt": self.system_prompt,
            "rendered": self.prompt_text(_SENTINEL, ThinkMode("no_think", "")),
            "stop_token_id": self.stop_token_id,
        }

    def _backend(self) -> Any | None:
        """The fast tokenizer underneath, if there is one, without what earlier calls left in it.

        Truncation, padding and the splitting of special tokens are its state; transformers sets
        them anew in each of its own calls.
        """
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if not hasattr(backend, "encode_batch_fast"):
            return None
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        return backend

    def _ids(self, prefix: str) -> list[int]:
        if prefix not in self._prefixes:
            self._prefixes[prefix] = self.encode_texts([prefix])[0]
        return self._prefixes[prefix]

    def _render(self, messages: list[dict[str, str]], *, prompt: bool) -> str:
        from jinja2 import TemplateError

        if self.system_prompt is not None:
            messages = [{"role": "system", "content": self.system_prompt}, *messages]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
        except TemplateError as error:
            raise UserError(
                f"the chat template of {self.tokenizer.name_or_path!r} refuses "
                f"{' and '.join(turn['role'] for turn in messages)} (system_prompt is "
                f"{self.system_prompt!r}): {error}"
            ) from None
        return str(text)

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


def _prefix_and_body(example: Example) -> tuple[str, str]:
    """The start of the response that is tokenised apart, and the rest."""
    response = response_text(example.reasoning, example.answer)
    prefix = example.mode.prefix
    if not prefix:
        prefix = THINK_OPEN if example.reasoning is not None else ""
    elif example.reasoning is None and (THINK_OPEN not in prefix or THINK_CLOSE in prefix):
        return prefix, response
    if not response.startswith(prefix):
        what = "without reasoning" if example.reasoning is None else "with reasoning"
        raise UserError(
            f"think mode {example.mode.name!r} has the prefix {prefix!r}; no response {what} "
            f"begins so: it begins with {response[:20]!r}"
        )
    return prefix, response.removeprefix(prefix)
