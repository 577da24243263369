"""A chat-completions server that does what a healthy one does not, by a script of chances.

``python -m tests.servers.fault_server --log FILE --faults 429=0.2,500=0.05,...`` prints its port.
Each request is logged before anything is sent: the user's text, what was done, whether a whole
reply left. The log is what tests count from, not our own store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path
from typing import Any, TextIO

FAULTS = ("429", "500", "hang", "broken", "reset", "cut_off", "400", "empty")
WHOLE = ("ok", "cut_off", "empty")  # a chat completion that a client has to keep


class Fault(asyncio.Protocol):
    """One connection.

    Args:
        chances: Fault by its chance; the rest is answered.
        latency_s: Time of an answer.
        log: Where requests are written; none for timings.
        draws: Source of chance.
    """

    def __init__(
        self, chances: dict[str, float], latency_s: float, log: TextIO | None, draws: random.Random
    ) -> None:
        self.chances, self.latency_s, self.log, self.draws = chances, latency_s, log, draws
        self.unread = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while True:
            end = self.unread.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.unread[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self.unread) < end + 4 + length:
                return
            body = self.unread[end + 4 : end + 4 + length]
            self.unread = self.unread[end + 4 + length :]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        if self.log is None and not self.chances:  # as fast as can be
            self.transport.write(FAST)
            return
        request = json.loads(body)
        text = request["messages"][-1]["content"]
        fault = self.draw()
        if self.log is not None:
            self.log.write(json.dumps({"text": text, "did": fault}) + "\n")
            self.log.flush()
        if fault != "hang":
            loop = asyncio.get_running_loop()
            loop.call_later(self.latency_s * (0.5 + self.draws.random()), self.send, fault, text)

    def draw(self) -> str:
        at = self.draws.random()
        for fault, chance in self.chances.items():
            at -= chance
            if at < 0:
                return fault
        return "ok"

    def send(self, fault: str, text: str) -> None:
        if self.transport.is_closing():
            return
        if fault == "reset":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{")
            self.transport.abort()
        elif fault == "429":
            self.transport.write(response(429, error("slow down"), "Retry-After: 0.02\r\n"))
        elif fault in ("500", "400"):
            self.transport.write(response(int(fault), error("no")))
        elif fault == "broken":
            self.transport.write(response(200, completion(text, "stop")[:-20]))
        elif fault == "empty":
            self.transport.write(response(200, completion("", "stop")))
        else:
            reason = "length" if fault == "cut_off" else "stop"
            self.transport.write(response(200, completion(f"reply to {text}", reason)))


def completion(text: str, finish_reason: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split())}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def error(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


def response(status: int, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


FAST = response(200, completion("a reply of a few words", "stop"))


async def serve(
    port: int, chances: dict[str, float], latency_s: float, log: Path | None, seed: int
) -> None:
    draws = random.Random(seed)
    handle = log.open("a", encoding="utf-8") if log else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Fault(chances, latency_s, handle, draws), "127.0.0.1", port, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", default="", help="429=0.2,500=0.05")
    parser.add_argument("--latency_s", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs = (pair.split("=") for pair in options.faults.split(",") if pair)
    chances = {name: float(chance) for name, chance in pairs}
    assert set(chances) <= set(FAULTS), chances
    asyncio.run(serve(options.port, chances, options.latency_s, options.log, options.seed))


if __name__ == "__main__":
    main()
