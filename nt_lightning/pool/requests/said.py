"""What a server says, without the key and without characters that no file can hold."""

from __future__ import annotations

import html
import json
import re
from contextlib import suppress
from typing import Any

HIDDEN = "***"
SHORTEST_SECRET = 16  # a shorter key, such as EMPTY, is a word that a reply may hold
_HALVES = re.compile("[\ud800-\udfff]")
_TAGS = re.compile(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>")
_LOOKED_AT = 100_000  # characters of an error page


def whole(text: str) -> str:
    """A text with U+FFFD for halves of surrogate pairs, for which UTF-8 has no bytes."""
    return _HALVES.sub("\ufffd", text)


def without(text: str, secret: str | None) -> str:
    """A text without a secret, as it is or as JSON writes it."""
    for form in _forms(secret):
        text = text.replace(form, HIDDEN)
    return text


def bytes_without(body: bytes, secret: str | None, *, is_reply: bool) -> bytes:
    """A body without a secret; a reply is data, in which a short one is left.

    Args:
        body: What a server sent.
        secret: The key, which some servers repeat.
        is_reply: Whether it is a reply to a question, no error.
    """
    if is_reply and len(secret or "") < SHORTEST_SECRET:
        return body
    for form in _forms(secret):
        body = body.replace(form.encode(), HIDDEN.encode())
    return body


def error_text(body: bytes, secret: str | None, limit: int = 300) -> str:
    """What a server says about an error, in one line, without the key.

    Args:
        body: Its reply.
        secret: The key, which some servers repeat.
        limit: Longest text.
    """
    text = body[:_LOOKED_AT].decode("utf-8", errors="replace")
    found = _loaded(body)
    if isinstance(found, dict):
        found = found.get("error") or found.get("detail") or found
        text = str(found.get("message", text) if isinstance(found, dict) else found)
    if text.lstrip().startswith("<"):
        text = html.unescape(_TAGS.sub(" ", text))
    line = whole(without(" ".join(text.split()), secret))
    return line if len(line) <= limit else f"{line[:limit]} ..."


def error_codes(body: bytes) -> tuple[Any, ...]:
    """``code`` and ``type`` of an error in the form of OpenAI; empty where there is none."""
    found = _loaded(body)
    found = found.get("error") if isinstance(found, dict) else None
    return (found.get("code"), found.get("type")) if isinstance(found, dict) else ()


def _loaded(body: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _forms(secret: str | None) -> list[str]:
    if not secret:
        return []
    return [secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/")]
