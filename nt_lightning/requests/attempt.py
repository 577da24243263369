"""One attempt at a request, and what kind of end it had."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

import aiohttp

from nt_lightning.requests.budget import Spent
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.request import BrokenReplyError, Reply, Request, read_reply
from nt_lightning.requests.said import bytes_without, error_codes, error_text, without

Kind = Literal["replied", "refused", "barred", "throttled", "failed", "lost", "hopeless"]
_OVERLOADED = (429, 503, 529)
_AGAIN = (409, 425)  # and every 5xx but these, where a gateway has waited in vain for a reply:
_MAYBE_MADE = (408, 504, 524)
_BARRED = 403  # a key that may not, or a question that a filter does not like
_UNMADE = ("abort", "error")  # finish reasons of a server that has stopped in the middle
_HOPELESS = (401, 402, 404, 405)  # what is wrong is the key, the address or the account
_LONGEST_WAIT_S = 600.0
_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)


class Attempt(NamedTuple):
    """How one attempt ended.

    Args:
        kind: ``replied``; ``refused``: this request will never do; ``barred``: it may not, and
            perhaps none may; ``throttled``: later; ``failed``: again, nothing was made; ``lost``:
            again, but a reply may have been made and paid; ``hopeless``: no request will do.
        seconds: How long it took.
        status: HTTP status, where there is one.
        reply: What was said, for ``replied``, and for ``lost`` where the server stopped in it.
        body: The reply as it came, without the key.
        error: What went wrong.
        wait_s: How long the server asks us to wait.
        timed_out: Whether we, or a gateway, have waited in vain.
    """

    kind: Kind
    seconds: float
    status: int | None = None
    reply: Reply | None = None
    body: bytes | None = None
    error: str | None = None
    wait_s: float = 0.0
    timed_out: bool = False

    def spent(self, endpoint: Endpoint, worst: Spent) -> Spent:
        """What it cost: by the server's count, else at its worst if a reply may be paid."""
        if self.kind == "failed" and self.status is None:
            return Spent()  # no connection: nothing was sent
        if self.reply is None:
            return worst if self.kind == "lost" else Spent(1)
        prompt, reply = self.reply.prompt_tokens, self.reply.completion_tokens
        if prompt is None or reply is None:
            return worst
        return Spent(1, prompt + reply, endpoint.cost(prompt, reply))


async def attempt(session: aiohttp.ClientSession, endpoint: Endpoint, request: Request) -> Attempt:
    """Send a request once.

    Args:
        session: Carries the connections; its headers hold the key.
        endpoint: Where to.
        request: What.
    """
    began, key = time.monotonic(), endpoint.secret()
    try:
        async with session.post(endpoint.url, data=request.body, allow_redirects=False) as response:
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return _no_response(error, time.monotonic() - began, key)
    seconds, status, headers = time.monotonic() - began, response.status, response.headers
    if status != 200:
        return _not_ok(status, headers, body, seconds, key)
    body = bytes_without(body, key)
    try:
        reply = read_reply(body)
    except BrokenReplyError as error:
        codes = error_codes(body)
        if codes and type(codes[0]) is int and codes[0] >= 400:  # OpenRouter's errors come as 200
            return _not_ok(codes[0], headers, body, seconds, key)
        said = f"the reply is no chat completion ({error}): {error_text(body, key, 100)}"
        return Attempt("lost", seconds, 200, body=body, error=without(said, key))
    if reply.finish_reason in _UNMADE:
        said = f"finish_reason {reply.finish_reason}"
        return Attempt("lost", seconds, 200, reply, body, said)
    return Attempt("replied", seconds, 200, reply, body)


def _no_response(error: Exception, seconds: float, key: str | None) -> Attempt:
    """No whole response came: what is sent may be paid, and mostly only a proxy knows."""
    said = without(f"{type(error).__name__}: {error}", key)
    if isinstance(error, aiohttp.InvalidURL):
        return Attempt("hopeless", seconds, error=said)
    if isinstance(error, (*_NOTHING_SENT, aiohttp.ConnectionTimeoutError)):
        return Attempt("failed", seconds, error=f"no connection: {said}")
    if isinstance(error, TimeoutError):
        return Attempt("lost", seconds, error="no reply within timeout_s", timed_out=True)
    return Attempt("lost", seconds, error=said)


def _not_ok(
    status: int, headers: Mapping[str, str], body: bytes, seconds: float, key: str | None
) -> Attempt:
    said = f"HTTP {status}: {error_text(body, key)}"
    body = bytes_without(body, key)
    if "Location" in headers:
        said = f"HTTP {status}: the server is at {without(headers['Location'], key)}"
    if status in _OVERLOADED and "insufficient_quota" not in error_codes(body):
        wait_s = retry_after(headers.get("Retry-After"), time.time())
        return Attempt("throttled", seconds, status, error=said, wait_s=wait_s)
    kind: Kind = "refused"
    if status in _MAYBE_MADE:
        kind = "lost"
    elif status in (*_OVERLOADED, *_HOPELESS) or status < 400:  # overloaded: no money is left
        kind = "hopeless"
    elif status >= 500 or status in _AGAIN:
        kind = "failed"
    elif status == _BARRED:
        kind = "barred"
    return Attempt(kind, seconds, status, None, body, said, timed_out=status in _MAYBE_MADE)


def retry_after(value: str | None, now: float) -> float:
    """Seconds of a ``Retry-After`` header, as a number or a date; at most ten minutes.

    Args:
        value: The header, where there is one.
        now: Seconds since 1970.
    """
    seconds = 0.0
    with suppress(ValueError, TypeError, OverflowError):
        seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - now
    with suppress(ValueError):
        seconds = float(value or 0)
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if not math.isnan(seconds) else 0.0
