"""What is to be asked, by server, and what became of it."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from nt_lightning.pool.requests.budget import Spent
from nt_lightning.pool.requests.endpoint import Endpoint
from nt_lightning.pool.requests.pace import Pace
from nt_lightning.pool.requests.request import Request


@dataclass
class Job:
    """Requests for one server.

    Args:
        name: For messages: a teacher, say.
        endpoint: The server.
        requests: The requests, made while they are sent.
        total: How many they are.
    """

    name: str
    endpoint: Endpoint
    requests: Iterable[Request]
    total: int


class Asked(NamedTuple):
    """What became of the requests of a run.

    Args:
        total: All that were wanted.
        found: Were in the store already.
        replied: Replied now.
        refused: The server will not do them.
        gave_up: No reply after all attempts; the same command tries again.
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


@dataclass
class Lane:
    """A job while it runs."""

    job: Job
    pace: Pace
    session: aiohttp.ClientSession
    waiting: Iterator[Request]
    in_a_row: int = 0
    replied: int = 0
    last_error: str = ""


@contextlib.asynccontextmanager
async def open_lane(job: Job) -> AsyncIterator[Lane]:
    """A job with its connections, which end with the context."""
    endpoint = job.endpoint
    headers = {"Content-Type": "application/json"}
    if key := endpoint.api_key():
        headers["Authorization"] = f"Bearer {key}"
    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s),
        connector=aiohttp.TCPConnector(limit=endpoint.concurrency),
        trust_env=bool(urllib.request.getproxies()),
    ) as session:
        pace = Pace(endpoint.concurrency, endpoint.timeout_s)
        yield Lane(job, pace, session, iter(job.requests))
