"""A chat-completions server whose replies a test writes as a function of the request's body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.fault_server import response
from tests.servers.scripted import Scripted, Seen, scripted

Body = dict[str, Any]


class Chat:
    """What a server was asked, and its address."""

    def __init__(self, server: Scripted) -> None:
        self.server = server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"

    @property
    def bodies(self) -> list[Body]:
        return [seen.body for seen in self.server.seen]

    @property
    def texts(self) -> list[str]:
        return [seen.text for seen in self.server.seen]

    @property
    def heads(self) -> list[str]:
        return [seen.head for seen in self.server.seen]


def reply_of(
    text: str, finish_reason: str = "stop", reasoning: str | None = None, tokens: int = 10
) -> Body:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}}


@contextmanager
def chat(reply: Callable[[Body], str | tuple[int, Any]]) -> Iterator[Chat]:
    """Serve while the context lasts.

    Args:
        reply: Gets a request's body; returns the text of the reply, or an HTTP status and JSON.
    """

    def answer(seen: Seen) -> bytes:
        said = reply(seen.body)
        status, whole = (200, reply_of(said)) if isinstance(said, str) else said
        return response(status, json.dumps(whole).encode())

    with scripted(answer) as server:
        yield Chat(server)
