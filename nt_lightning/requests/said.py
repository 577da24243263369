"""What a server says, without the key and without characters that no file can hold."""

from __future__ import annotations

import functools
import html
import json
import re
from contextlib import suppress
from typing import Any

HIDDEN = "***"
_HALVES = re.compile("[\ud800-\udfff]")
_TAGS = re.compile(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>")
# What FastAPI, and vLLM in its place, repeats of a request that is wrong: the prompt itself.
_REPEATED = re.compile(r"""(?s)(['"]input\\?['"]\s*:|\binput_value=).*""")
_LOOKED_AT = 100_000  # characters of an error page


def whole(text: str) -> str:
    """A text with U+FFFD for halves of surrogate pairs, for which UTF-8 has no bytes."""
    return _HALVES.sub("\ufffd", text)


def without(text: str, secret: str | None) -> str:
    """A text without a secret, as it is or as JSON, HTML or an address writes it."""
    return _pattern(secret).sub(HIDDEN, text) if secret else text


def bytes_without(body: bytes, secret: str | None) -> bytes:
    """A body without a secret: JSON in its decoded texts, so that no escape hides one.

    Args:
        body: What a server sent.
        secret: The key, which some servers repeat.
    """
    if not secret:
        return body
    with suppress(ValueError, RecursionError):
        value = json.loads(body)
        hidden = _hidden(value, secret)
        return body if hidden == value else json.dumps(hidden).encode()
    text = body.decode("utf-8", errors="surrogateescape")
    return without(text, secret).encode("utf-8", errors="surrogateescape")


def error_text(body: bytes, secret: str | None, limit: int = 300) -> str:
    """What a server says about an error, in one line, without the key and without the request.

    Args:
        body: Its reply.
        secret: The key, which some servers repeat.
        limit: Longest text.
    """
    text = body[:_LOOKED_AT].decode("utf-8", errors="replace")
    found = _loaded(body)
    if isinstance(found, dict):
        found = found.get("error") or found.get("detail") or found
        if isinstance(found, dict):
            text = str(found.get("message", text))
        elif isinstance(found, list):
            text = "; ".join(map(_complaint, found))
        else:
            text = str(found)
    text = _REPEATED.sub("...", text)
    if text.lstrip().startswith("<"):
        text = html.unescape(_TAGS.sub(" ", text))
    line = whole(without(" ".join(text.split()), secret))
    return line if len(line) <= limit else f"{line[:limit]} ..."


def error_codes(body: bytes) -> tuple[Any, ...]:
    """``code`` and ``type`` of an error in the form of OpenAI; empty where there is none."""
    found = _loaded(body)
    found = found.get("error") if isinstance(found, dict) else None
    return (found.get("code"), found.get("type")) if isinstance(found, dict) else ()


def _complaint(one: Any) -> str:
    """An entry of FastAPI's ``detail``: what is wrong, of which type, and where."""
    if not isinstance(one, dict):
        return str(one)
    place = one.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    about = ", ".join(filter(None, (str(one.get("type") or ""), where)))
    return f"{one.get('msg', 'no message')}{about and f' ({about})'}"


def _loaded(body: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _hidden(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return without(value, secret)
    if isinstance(value, list):
        return [_hidden(one, secret) for one in value]
    if isinstance(value, dict):
        return {without(name, secret): _hidden(one, secret) for name, one in value.items()}
    return value


@functools.cache
def _pattern(secret: str) -> re.Pattern[str]:
    r"""The secret with each character as it is, or as ``\/``, ``\u002f``, ``&#47;`` or ``%2F``."""
    return re.compile("".join(map(_written, secret)))


def _written(one: str) -> str:
    code = ord(one)
    forms = [rf"\\+u{code:04x}", f"&#0*{code};", f"&#x0*{code:x};", f"%{code:02x}"]
    if one in '/"\\':
        forms.append(r"\\+" + re.escape(one))
    if html.escape(one) != one:
        forms.append(html.escape(one))
    return f"(?:{re.escape(one)}|(?i:{'|'.join(forms)}))"
