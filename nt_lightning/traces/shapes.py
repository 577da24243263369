"""Rows in foreign shapes to rows of the record: ``{question, response}`` and ``messages``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nt_lightning.traces.columns import not_of
from nt_lightning.traces.responses import split_response

Row = dict[str, Any]


class BadRowError(Exception):
    """Why one row cannot become a record."""


def from_response(row: Row) -> Row:
    """``response`` with a think block in it, or beside a column ``reasoning``."""
    out = {key: value for key, value in row.items() if key != "response"}
    if row.get("reasoning"):
        out["answer"] = text(row, "response").strip()
    else:
        out["reasoning"], out["answer"] = split(text(row, "response"), "response")
    return out


def from_messages(row: Row) -> Row:
    """One user and one assistant turn, the reasoning in it or beside ``messages``.

    A system turn is dropped, since the student has its own.
    """
    turns = row["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRowError("column 'messages': is no list of {role, content}")
    talk = [turn for turn in turns if turn.get("role") != "system"]
    roles = [turn.get("role") for turn in talk]
    if roles != ["user", "assistant"]:
        raise BadRowError(f"column 'messages': needs one user and one assistant turn, has {roles}")
    out = {key: value for key, value in row.items() if key != "messages"}
    out["question"] = text(talk[0], "content")
    response = text(talk[1], "content")
    if row.get("reasoning"):
        if split(response, "messages") != ("", response.strip()):
            raise BadRowError("column 'messages': has a think block beside a column 'reasoning'")
        out["answer"] = response.strip()
        return out
    # DeepSeek's interface has reasoning_content, OpenRouter's and vLLM's has reasoning
    for key in ("reasoning_content", "reasoning"):
        if talk[1].get(key):
            out["reasoning"], out["answer"] = text(talk[1], key).strip(), response.strip()
            return out
    out["reasoning"], out["answer"] = split(response, "messages")
    return out


def split(response: str, column: str) -> tuple[str, str]:
    """Reasoning and answer of a response; the row is bad where they cannot be told apart."""
    try:
        return split_response(response)
    except ValueError as error:
        raise BadRowError(f"column {column!r}: {error}") from None


def text(row: Mapping[str, Any], key: str) -> str:
    """The text under a key; the row is bad where there is none."""
    value = row.get(key)
    if not isinstance(value, str):
        raise BadRowError(f"column {key!r}: {not_of('text', value)}")
    return value
