"""What is to be asked, by server, and what became of it."""

from __future__ import annotations

import contextlib
import functools
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from nt_lightning.errors import UserError
from nt_lightning.pool.requests.attempt import Attempt
from nt_lightning.pool.requests.budget import Spent
from nt_lightning.pool.requests.endpoint import Endpoint
from nt_lightning.pool.requests.pace import Pace
from nt_lightning.pool.requests.request import Request
from nt_lightning.pool.requests.writer import State

IN_A_ROW = 20  # so many without a reply, none replied between: the command stops (our choice)
FEW = 3  # the same while no reply has come at all, unless the server has said no to the requests
CONNECT_S = 30.0
IDLE_S = 4.0  # uvicorn and Node close idle connections after 5 s: a request then could be lost


@dataclass
class Job:
    """Requests for one server.

    Args:
        name: For messages: a teacher, say.
        endpoint: The server.
        requests: The requests, made while they are sent.
        total: How many they are.
        repair: Gets a request that has ended and may want one further in its place, when its
            reply is of no use; not part of ``total``.
    """

    name: str
    endpoint: Endpoint
    requests: Iterable[Request]
    total: int
    repair: Callable[[Request], Request | None] | None = None


class Asked(NamedTuple):
    """What became of the requests of a run.

    Args:
        total: All that were wanted.
        found: Were in the store already.
        replied: Replied now.
        refused: The server will not do them.
        gave_up: No reply after all attempts, or refused before any reply showed that the server
            works; the same command tries again.
        not_asked: Not sent, since a cap was reached or the command was stopped.
        spent: By this run.
        capped: The cap that stopped it, where one did.
    """

    total: int
    found: int
    replied: int
    refused: int
    gave_up: int
    not_asked: int
    spent: Spent
    capped: str | None

    @classmethod
    def sum(cls, parts: Sequence[Asked]) -> Asked:
        """Several runs together."""
        return cls(
            total=sum(part.total for part in parts),
            found=sum(part.found for part in parts),
            replied=sum(part.replied for part in parts),
            refused=sum(part.refused for part in parts),
            gave_up=sum(part.gave_up for part in parts),
            not_asked=sum(part.not_asked for part in parts),
            spent=functools.reduce(Spent.plus, (part.spent for part in parts)),
            capped=next((part.capped for part in parts if part.capped), None),
        )


@dataclass
class Lane:
    """A job while it runs."""

    job: Job
    pace: Pace
    session: aiohttp.ClientSession
    waiting: Iterator[Request]
    replied: int = 0
    works: bool = False  # a reply came, now or in an earlier run
    in_a_row: int = 0  # without a reply
    last_error: str = ""
    _most: int = IN_A_ROW

    @property
    def server(self) -> str:
        """For messages."""
        return f"{self.job.name}: {self.job.endpoint.url}"

    def count(self, found: Attempt, state: State) -> None:
        """Keep in mind how an attempt ended."""
        self.last_error = found.error or self.last_error
        if state == "replied":
            self.works, self.in_a_row = True, 0
            self.replied += 1
        elif state != "fault":
            self.in_a_row += 1
            said_no = found.kind in ("refused", "barred")  # at once, while replies take their time
            self._most = IN_A_ROW if self.replied or said_no else FEW

    @property
    def is_hopeless(self) -> bool:
        """Whether so many had no reply that it is no single request's fault."""
        most = self._most if self.replied else min(self._most, max(self.job.total, 1))
        return self.in_a_row >= most


@contextlib.asynccontextmanager
async def open_lane(job: Job) -> AsyncIterator[Lane]:
    """A job with its connections, which end with the context."""
    endpoint = job.endpoint
    headers = {"Content-Type": "application/json"}
    if key := endpoint.api_key():
        headers["Authorization"] = f"Bearer {key}"
    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s, sock_connect=CONNECT_S),
        connector=aiohttp.TCPConnector(limit=endpoint.concurrency, keepalive_timeout=IDLE_S),
        proxy=_proxy(endpoint.url),
    ) as session:
        pace = Pace(endpoint.concurrency, endpoint.timeout_s)
        yield Lane(job, pace, session, iter(job.requests))


def _proxy(url: str) -> str | None:
    """The environment's proxy; aiohttp's own way would send passwords of .netrc in the key's place.

    Args:
        url: Where the requests go.
    """
    parts = urlsplit(url)
    given = urllib.request.getproxies().get(parts.scheme)
    if not given or urllib.request.proxy_bypass(parts.netloc):
        return None
    proxy = given if "://" in given else f"http://{given}"
    if not proxy.startswith(("http://", "https://")):
        raise UserError(f"{parts.scheme}_proxy: allowed: a proxy of http or https")
    return proxy
