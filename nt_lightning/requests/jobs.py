"""What is to be asked, by server, and what became of it."""

from __future__ import annotations

import contextlib
import functools
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from nt_lightning.errors import UserError
from nt_lightning.requests.attempt import Attempt
from nt_lightning.requests.budget import Spent
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.pace import Pace
from nt_lightning.requests.request import Request
from nt_lightning.requests.writer import Event

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
        gave_up: No reply after all attempts, or refused where no reply of the run shows that the
            server works; the same command tries again.
        not_asked: Not come to, since a cap was reached; the store may have replies to some.
        spent: By this run, requests whose reply was lost at their worst.
        capped: The cap that stopped it, where one did.
        room: What one more request may cost and what the cap leaves, where one stopped it.
        unsure: The part of ``spent`` that may not have been needed, see ``Budget``.
        throttled: How often a server has said that it has too much to do (429, 503).
    """

    total: int
    found: int
    replied: int
    refused: int
    gave_up: int
    not_asked: int
    spent: Spent
    capped: str | None
    room: str = ""
    unsure: Spent = Spent()
    throttled: int = 0

    @property
    def sure(self) -> Spent:
        """What was spent for certain; all requests that were sent."""
        return self.spent.plus(self.unsure._replace(requests=0), -1)

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
            room=next((part.room for part in parts if part.room), ""),
            unsure=functools.reduce(Spent.plus, (part.unsure for part in parts)),
            throttled=sum(part.throttled for part in parts),
        )


class Waiting:
    """A job's requests in their order, but those that were given up in an earlier run come last.

    So each run gets further, even if the server refuses the first hundred with good reason.

    Args:
        requests: The requests.
        has_given_up: Whether one was given up; those are kept in memory until their turn.
    """

    def __init__(self, requests: Iterable[Request], has_given_up: Callable[[bytes], bool]) -> None:
        self._first, self._has_given_up = iter(requests), has_given_up
        self._last: deque[Request] = deque()
        self.known: set[bytes] = set()  # those of them that have had their turn

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        for request in self._first:
            if not self._has_given_up(request.key):
                return request
            self._last.append(request)
        if not self._last:
            raise StopIteration
        self.known.add(self._last[0].key)
        return self._last.popleft()


@dataclass
class Lane:
    """A job while it runs."""

    job: Job
    pace: Pace
    session: aiohttp.ClientSession
    waiting: Waiting
    found: int = 0
    replied: int = 0
    in_a_row: int = 0  # without a reply
    refused: list[Event] = field(default_factory=list)  # not final yet
    last_error: str = ""
    surplus: int = 0  # tokens that prompts have had beyond what is set aside for them
    _most: int = IN_A_ROW
    _refused: set[bytes] = field(default_factory=set)

    @property
    def server(self) -> str:
        """For messages."""
        return f"{self.job.name}: {self.job.endpoint.url}"

    def worst(self, request: Request, prompt_tokens: int) -> Spent:
        """What a request may cost, whose prompt is thought to have so many tokens."""
        prompt, reply = prompt_tokens + self.surplus, request.max_completion_tokens
        return Spent(1, prompt + reply, self.job.endpoint.cost(prompt, reply))

    def learn(self, prompt_tokens: int, found: Attempt) -> None:
        """See by how much a prompt was longer than was thought, mostly by a chat template."""
        counted = found.reply.prompt_tokens if found.reply is not None else None
        self.surplus = max(self.surplus, (counted or 0) - prompt_tokens)

    def count(self, found: Attempt, event: Event) -> None:
        """Keep in mind how an attempt ended.

        A refusal of what was given up in an earlier run says nothing of the server where others
        have had a reply: the run ends with what there is, so that a pool can be made of it.
        """
        state = event.state
        has_others = self.found or self.replied
        said_no = found.kind in ("refused", "barred")  # at once, while replies take their time
        if found.kind == "refused" and event.key not in self._refused:
            self._refused.add(event.key)
            self.refused.append(event._replace(state="refused", spent=Spent()))
        self.last_error = found.error or self.last_error
        if state == "replied":
            self.in_a_row = 0
            self.replied += 1
        elif state != "fault" and not (said_no and has_others and event.key in self.waiting.known):
            self.in_a_row += 1
            self._most = IN_A_ROW if self.replied or said_no else FEW

    def confirmed(self) -> list[Event]:
        """Refusals that are final, since the server works: each is given once."""
        if not self.replied:
            return []
        events, self.refused = self.refused, []
        return events

    @property
    def is_hopeless(self) -> bool:
        """Whether so many had no reply that it is no single request's fault."""
        most = self._most if self.replied else min(self._most, max(self.job.total, 1))
        return self.in_a_row >= most


@contextlib.asynccontextmanager
async def open_lane(
    job: Job, has_given_up: Callable[[bytes], bool] = lambda key: False
) -> AsyncIterator[Lane]:
    """A job with its connections, which end with the context.

    Args:
        job: The job.
        has_given_up: Whether a request was given up in an earlier run.
    """
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
        yield Lane(job, pace, session, Waiting(job.requests, has_given_up))


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
