"""One attempt at a request, and what kind of end it had."""

from __future__ import annotations

import email.utils
import json
import time
from contextlib import suppress
from typing import Literal, NamedTuple

import aiohttp

from nt_lightning.pool.requests.endpoint import Endpoint
from nt_lightning.pool.requests.request import (
    BrokenReplyError,
    Reply,
    Request,
    error_text,
    read_reply,
    without,
)

Kind = Literal["replied", "refused", "throttled", "failed", "lost", "hopeless"]
_OVERLOADED = (429, 503, 529)
_AGAIN = (408, 409, 425)  # and every 5xx
_HOPELESS = (401, 402, 403, 404, 405)  # what is wrong is the key, the address or the account
_LONGEST_WAIT_S = 600.0


class Attempt(NamedTuple):
    """How one attempt ended.

    Args:
        kind: ``replied``; ``refused``: this request will never do; ``throttled``: later;
            ``failed``: again, nothing was made; ``lost``: again, but a reply may have been made
            and paid; ``hopeless``: no request will do.
        seconds: How long it took.
        status: HTTP status, where there is one.
        reply: What was said, for ``replied``.
        body: The reply as it came.
        error: What went wrong.
        wait_s: How long the server asks us to wait.
    """

    kind: Kind
    seconds: float
    status: int | None = None
    reply: Reply | None = None
    body: bytes | None = None
    error: str | None = None
    wait_s: float = 0.0


async def attempt(session: aiohttp.ClientSession, endpoint: Endpoint, request: Request) -> Attempt:
    """Send a request once.

    Args:
        session: Carries the connections; its headers hold the key.
        endpoint: Where to.
        request: What.
    """
    began, key = time.monotonic(), endpoint.api_key()
    try:
        async with session.post(endpoint.url, data=request.body, allow_redirects=False) as response:
            body = await response.read()
    except (TimeoutError, aiohttp.ServerTimeoutError):
        return Attempt("lost", time.monotonic() - began, error="no reply within timeout_s")
    except aiohttp.ClientConnectorError as error:  # no connection: nothing has been sent
        said = without(str(error), key)
        return Attempt("failed", time.monotonic() - began, error=f"no connection: {said}")
    except (aiohttp.ClientError, OSError) as error:
        said = without(f"{type(error).__name__}: {error}", key)
        return Attempt("lost", time.monotonic() - began, error=said)
    seconds = time.monotonic() - began
    if response.status != 200:
        return _not_ok(response, body, seconds, key)
    try:
        return Attempt("replied", seconds, 200, read_reply(body), body)
    except BrokenReplyError as error:
        said = f"the reply is no chat completion: {without(str(error), key)}"
        return Attempt("lost", seconds, 200, body=body, error=said)


def _not_ok(
    response: aiohttp.ClientResponse, body: bytes, seconds: float, key: str | None
) -> Attempt:
    status = response.status
    said = f"HTTP {status}: {error_text(body, key)}"
    if status in _OVERLOADED and not _out_of_quota(body):
        wait_s = retry_after(response.headers.get("Retry-After"), time.time())
        return Attempt("throttled", seconds, status, error=said, wait_s=wait_s)
    if status >= 500 or status in _AGAIN:
        return Attempt("failed", seconds, status, error=said)
    if status < 400 or status in (*_HOPELESS, *_OVERLOADED):
        return Attempt("hopeless", seconds, status, body=body, error=said)
    return Attempt("refused", seconds, status, body=body, error=said)


def retry_after(value: str | None, now: float) -> float:
    """Seconds of a ``Retry-After`` header, as a number or a date; at most ten minutes.

    Args:
        value: The header, where there is one.
        now: Seconds since 1970.
    """
    if not value:
        return 0.0
    with suppress(ValueError):
        return min(max(float(value), 0.0), _LONGEST_WAIT_S)
    with suppress(ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(value).timestamp()
        return min(max(until - now, 0.0), _LONGEST_WAIT_S)
    return 0.0


def _out_of_quota(body: bytes) -> bool:
    """A 429 that no waiting mends: the account has no money left."""
    with suppress(ValueError, AttributeError):
        return (json.loads(body).get("error") or {}).get("code") == "insufficient_quota"
    return False
