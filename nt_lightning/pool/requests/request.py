"""A request and its reply, as they stand in the request store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Message = dict[str, str]
FRAME_BYTES = 64  # role and separators of a message in a chat template (our choice, generous)


class Request(NamedTuple):
    """One chat completion that is wanted.

    Args:
        key: Digest of ``body`` and ``sample``: the same request is never sent again. The server's
            address is no part of it, since the same model often moves (our choice).
        body: JSON that is sent.
        max_prompt_tokens: Never fewer tokens than the prompt has: its bytes, since a byte-level
            token is at least one byte.
        max_completion_tokens: The body's own limit.
    """

    key: bytes
    body: bytes
    max_prompt_tokens: int
    max_completion_tokens: int

    @classmethod
    def of(cls, body: Mapping[str, Any], max_tokens: int, sample: int = 0) -> Request:
        """A request from its body.

        Args:
            body: As the server wants it, with ``messages``.
            max_tokens: Limit of the reply in tokens.
            sample: Which of several replies to one body.
        """
        text = json.dumps(body, ensure_ascii=False, sort_keys=True).encode()
        key = hashlib.blake2b(b"%d\n%b" % (sample, text), digest_size=16).digest()
        prompt = sum(len(m["content"].encode()) + FRAME_BYTES for m in body["messages"])
        return cls(key, text, prompt, max_tokens)


class Reply(NamedTuple):
    """What a server said.

    Args:
        text: Content of the message; empty where there was none.
        reasoning: What the server has told apart as reasoning (``reasoning_content`` of DeepSeek,
            SGLang and llama.cpp, ``reasoning`` of vLLM and OpenRouter); empty without.
        finish_reason: ``stop``, ``length`` or another reason.
        prompt_tokens: By the server's count; ``None`` where it does not say.
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
    """A chat completion's first choice.

    Raises:
        BrokenReplyError: The body is no JSON or has no such choice.
    """
    try:
        whole = json.loads(body)
        choice = whole["choices"][0]
        message = choice["message"]
        usage = whole.get("usage") or {}
        reply = Reply(
            text=message.get("content") or "",
            reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
            finish_reason=choice.get("finish_reason") or "",
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenReplyError(f"{type(error).__name__}: {error}") from None
    if not all(isinstance(part, str) for part in reply[:3]):
        raise BrokenReplyError("content, reasoning or finish_reason is no text")
    if not all(part is None or type(part) is int for part in reply[3:]):
        raise BrokenReplyError("usage is not in whole tokens")
    return reply


def error_text(body: bytes, secret: str | None, limit: int = 300) -> str:
    """What a server says about an error, in one line, without the key.

    Args:
        body: Its reply.
        secret: The key, which some servers repeat.
        limit: Longest text.
    """
    text = body.decode("utf-8", errors="replace")
    try:
        found = json.loads(text)
        found = found.get("error", found.get("detail", found))
        text = found.get("message", text) if isinstance(found, dict) else found
    except (ValueError, AttributeError):
        pass
    line = without(" ".join(str(text).split()), secret)
    return line if len(line) <= limit else f"{line[:limit]} ..."


def without(text: str, secret: str | None) -> str:
    """A text without a secret."""
    return text.replace(secret, "***") if secret else text


def messages_of(system: str | None, *turns: str) -> Sequence[Message]:
    """Chat messages: a system turn where there is one, then user and assistant in turn."""
    out = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return [*out, *({"role": roles[n % 2], "content": text} for n, text in enumerate(turns))]
