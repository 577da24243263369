"""A server in a thread, for chats and for prompts, whose replies a test writes as a function."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.servers.fault_server import completion, error, response

CLOSE = b""  # answer: the connection is closed without a reply
HANG = None  # answer: nothing ever comes


class Seen(NamedTuple):
    """A request as it came.

    Args:
        number: How many came before it.
        text: The last message, or the prompt; of ids their JSON.
        body: Its JSON.
        head: Request line and headers.
        raw: The body's bytes.
    """

    number: int
    text: str
    body: dict[str, Any]
    head: str
    raw: bytes


class Later(NamedTuple):
    """An answer that takes its time."""

    seconds: float
    answer: bytes | None


class Cut(NamedTuple):
    """The beginning of an answer, after which the connection is closed."""

    answer: bytes


Answer = Callable[[Seen], bytes | Later | Cut | None]


class Scripted:
    """What came, and where.

    Args:
        answer: The raw response to a request.
        idle_s: Connections without a request for so long are closed.
    """

    def __init__(self, answer: Answer, idle_s: float | None) -> None:
        self.answer, self.idle_s = answer, idle_s
        self.seen: list[Seen] = []
        self.port = self.connections = 0
        self.at_once = self.most_at_once = 0

    @property
    def texts(self) -> list[str]:
        return [seen.text for seen in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.idle_s)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        raw = await reader.readexactly(int(fields[b"content-length"]))
        body = json.loads(raw)
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        text = text if isinstance(text, str) else json.dumps(text)
        seen = Seen(len(self.seen), text, body, head.decode(), raw)
        self.seen.append(seen)
        answer = self.answer(seen)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if isinstance(answer, Later):
                await asyncio.sleep(answer.seconds)
                answer = answer.answer
            if answer is HANG:
                await reader.read()  # until the client has gone
        finally:
            self.at_once -= 1
        ends = not answer or isinstance(answer, Cut)
        writer.write(answer.answer if isinstance(answer, Cut) else answer or b"")
        await writer.drain()
        return not ends


@contextmanager
def scripted(answer: Answer, idle_s: float | None = None) -> Iterator[Scripted]:
    """The server, until the context ends."""
    server, started, loop = Scripted(answer, idle_s), threading.Event(), asyncio.new_event_loop()

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**26)
        server.port = listening.sockets[0].getsockname()[1]
        server.stop = asyncio.Event()  # type: ignore[attr-defined]
        started.set()
        await server.stop.wait()  # type: ignore[attr-defined]
        listening.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(server.stop.set)  # type: ignore[attr-defined]
        thread.join()


def reply(
    text: str = "a reply", finish_reason: str = "stop", tokens: tuple[int, int] | None = None
) -> bytes:
    """A whole reply.

    Args:
        text: Its content.
        finish_reason: ``stop`` or ``length``.
        tokens: Of prompt and reply, as the server counts.
    """
    body = json.loads(completion(text, finish_reason))
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return response(200, json.dumps(body).encode())


def continuation(
    text: str = "a reply", finish_reason: str | None = "stop", tokens: int | None = None
) -> bytes:
    """A whole reply to a prompt; ``tokens`` by the server's count, which then also counts it."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason}
    body: dict[str, Any] = {"object": "text_completion", "choices": [choice]}
    if tokens is not None:
        body["usage"] = {"prompt_tokens": 3, "completion_tokens": tokens}
    return response(200, json.dumps(body).encode())


def no(status: int, message: str = "no", headers: str = "", **fields: object) -> bytes:
    """An error in OpenAI's form."""
    body = json.loads(error(message))
    body["error"].update(fields)
    return response(status, json.dumps(body).encode(), headers)
