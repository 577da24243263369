"""A request and its reply, as they stand in the request store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nt_lightning.requests.said import whole
from nt_lightning.requests.token_bound import tokens_of

Message = dict[str, str]
TEMPLATE_TOKENS = 64  # what a chat template adds, mostly (our choice); ``Lane.learn`` sees the rest
MOST_TOKENS = 2**40  # a server that counts more than this does not count


class Request(NamedTuple):
    """One completion that is wanted.

    Args:
        key: Digest of ``body`` and ``sample``: the same request is never sent again. The server's
            address is no part of it, since the same model often moves (our choice).
        body: JSON that is sent.
        max_completion_tokens: Longest reply.
        number: Which try it is, from 0; see ``again``.
    """

    key: bytes
    body: bytes
    max_completion_tokens: int
    number: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any], max_tokens: int, sample: int = 0) -> Request:
        """A request from its body.

        Args:
            body: As the server wants it, with ``messages`` or ``prompt``.
            max_tokens: Limit of the reply in tokens; a higher one in the body counts.
            sample: Which of several replies to one body.

        Raises:
            TypeError, ValueError: The body has no form in JSON.
        """
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, allow_nan=False)
        sent = whole(text).encode()
        key = hashlib.blake2b(b"%d\n%b" % (sample, sent), digest_size=16).digest()
        limits = (max_tokens, body.get("max_tokens"), body.get("max_completion_tokens"))
        longest = max(limit for limit in limits if limit is not None)
        return cls(key, sent, longest)

    def prompt_tokens(self) -> int:
        """Tokens that the prompt may have by ``tokens_of``; counting takes a second for 8 MB.

        Those of the messages, as JSON, of a schema where there is one, and of a template; a
        prompt of ids has as many as it has ids.
        """
        body = json.loads(self.body)
        prompt = body.get("prompt")
        if prompt is not None:
            return len(prompt) if isinstance(prompt, list) else tokens_of(prompt)
        read = {name: value for name, value in body.items() if isinstance(value, list | dict)}
        return tokens_of(json.dumps(read, ensure_ascii=False)) + TEMPLATE_TOKENS

    def again(self) -> Request:
        """The same as a further try, whose reply stands beside that of this one."""
        key = hashlib.blake2b(b"again\n" + self.key, digest_size=16).digest()
        return self._replace(key=key, number=self.number + 1)


class Reply(NamedTuple):
    """What a server said.

    Args:
        text: Content of the message; empty where there was none.
        reasoning: What the server has told apart as reasoning (``reasoning_content`` of DeepSeek,
            SGLang and llama.cpp, ``reasoning`` of vLLM and OpenRouter); empty without.
        finish_reason: ``stop``, ``length`` or another reason.
        prompt_tokens: By the server's count; ``None`` where it does not say, or says 0.
        completion_tokens: The same, reasoning included.
    """

    text: str
    reasoning: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None


class BrokenReplyError(Exception):
    """A reply is no chat completion."""


def read_reply(body: bytes) -> Reply:
    """A completion's first choice, of a chat or of a prompt; a field of an odd type is empty.

    Raises:
        BrokenReplyError: The body is no JSON or has no message.
    """
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        usage = completion.get("usage")
        message = choice["message"] if "text" not in choice else {"content": choice["text"]}
        content = message.get("content")
        told = [_text(message.get(name)) for name in ("reasoning_content", "reasoning")]
        told.append(_text(content, "thinking"))
        text, finish_reason = _text(content), _text(choice.get("finish_reason"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenReplyError(f"{type(error).__name__}: {error}") from None
    return Reply(
        text=whole(text),
        reasoning=whole(next((one for one in told if one), "")),
        finish_reason=whole(finish_reason),
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _text(content: Any, kind: str = "text") -> str:
    """A content, or its parts of a kind: Mistral sends thinking as a part of its own."""
    if isinstance(content, str) and kind == "text":
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        _text(part.get(kind))
        for part in parts
        if isinstance(part, dict) and part.get("type") == kind
    )


def _count(usage: Any, name: str) -> int | None:
    """A number of tokens; a paid reply is not thrown away for an odd one."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 < count < MOST_TOKENS else None


def messages_of(system: str | None, *turns: str) -> Sequence[Message]:
    """Chat messages: a system turn where there is one, then user and assistant in turn."""
    out = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return [*out, *({"role": roles[n % 2], "content": text} for n, text in enumerate(turns))]
