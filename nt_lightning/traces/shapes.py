"""Rows in plain shapes to rows of the record, and what the adapters of all shapes share.

An adapter is a pure function of one row as it stands in a file; it gives the candidates for a pool
that the row holds, of which public sets may have several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nt_lightning.traces.columns import not_of
from nt_lightning.traces.responses import SplitError, has_think_block, split_response

Row = dict[str, Any]
# What a trace has and a question has not.
REPLY_COLUMNS = (
    "teacher",
    "reasoning",
    "answer",
    "response",
    "finish_reason",
    "response_tokens",
)
_ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names
_INSTRUCTIONS = ("system", "developer")  # turns
_TEXT_PARTS = ("text", "input_text", "output_text")  # OpenAI's names


class BadRowError(Exception):
    """Why one row cannot become a record."""


class DroppedRowError(BadRowError):
    """Why a sound row is left out: its reply is cut off, empty or unclear, as some always are.

    Args:
        reason: A short text that is the same for every such row, under which they are counted.
        detail: What is told of this row; default the reason.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class Candidate(NamedTuple):
    """A trace or a question on its way into a pool.

    Args:
        columns: Columns of the record, and unknown ones that are kept.
        thinks: Whether the reply has a think block; ``None`` where a row keeps its reasoning in a
            column of its own, so that none is no sign of a cut-off reply.
        problem: Why this one is left out while others of its row are not.
    """

    columns: Row
    thinks: bool | None = None
    problem: BadRowError | None = None


def from_columns(row: Row) -> list[Candidate]:
    """Our own columns."""
    return [Candidate(dict(row))]


def from_question(row: Row) -> list[Candidate]:
    """A ``question`` that nobody has answered, with other columns as they are."""
    for name in REPLY_COLUMNS:
        if row.get(name) is not None:
            raise BadRowError(
                f"column {name!r}: a question without a trace has none "
                "(what is right stands in reference_answer)"
            )
    return [Candidate({key: value for key, value in row.items() if key not in REPLY_COLUMNS})]


def from_response(row: Row) -> list[Candidate]:
    """``response`` with a think block in it, or beside a column ``reasoning``."""
    out = {key: value for key, value in row.items() if key != "response"}
    if row.get("reasoning"):
        response = "" if row["response"] is None else text(row, "response")
        return [_replied(out, row["reasoning"], response, thinks=True)]
    return [with_reply(out, row["response"], "response")]


def from_messages(row: Row) -> list[Candidate]:
    """One user and one assistant turn, the reasoning in it or beside ``messages``.

    A system or developer turn is dropped, since the student has its own.
    """
    question, reply = _talk(row, "messages")
    out = {key: value for key, value in row.items() if key != "messages"}
    out["question"] = _content(question)
    # null: a reply that broke off while it thought
    response = "" if reply.get("content", "") is None else _content(reply)
    if row.get("reasoning"):
        if split(response, "messages") != ("", response.strip()):
            raise BadRowError("column 'messages': has a think block beside a column 'reasoning'")
        return [_replied(out, row["reasoning"], response, thinks=True)]
    # DeepSeek's interface has reasoning_content, OpenRouter's and vLLM's has reasoning
    for key in ("reasoning_content", "reasoning"):
        if reply.get(key):
            return [_replied(out, text(reply, key).strip(), response, thinks=True)]
    return [with_reply(out, response, "messages")]


def from_conversations(row: Row) -> list[Candidate]:
    """One question and one answer as ``conversations`` of ``{from, value}`` (ShareGPT)."""
    out = {key: value for key, value in row.items() if key not in ("conversations", "system")}
    turns = []
    for turn in objects(row, "conversations"):
        role = part(turn, "from", "conversations") or ""
        turns.append(
            {"role": _ROLES.get(role, role), "content": part(turn, "value", "conversations")}
        )
    question, reply = _talk({"conversations": turns}, "conversations")
    return [with_reply(out | {"question": question["content"]}, reply["content"], "conversations")]


def with_reply(columns: Row, reply: object, column: str) -> Candidate:
    """A reply beside the columns of its question, split as a reader would.

    Args:
        columns: Of the question.
        reply: The teacher's text; ``None`` is an empty reply.
        column: Where it stands, for a message.
    """
    reply = "" if reply is None else reply
    if not isinstance(reply, str):
        return Candidate(
            columns, problem=BadRowError(f"column {column!r}: {not_of('text', reply)}")
        )
    try:
        reasoning, answer = split(reply, column)
    except BadRowError as error:
        return Candidate(columns, problem=error)
    return _replied(columns, reasoning, answer, has_think_block(reply))


def split(response: str, column: str) -> tuple[str, str]:
    """Reasoning and answer of a response.

    Raises:
        DroppedRowError: The response was cut off, has several think blocks, or one behind other
            text.
    """
    try:
        return split_response(response)
    except SplitError as error:
        raise DroppedRowError(error.reason, f"column {column!r}: {error}") from None


def gold(row: Row, name: str) -> Row:
    """The reference answer, if it is not blank; a number becomes text."""
    value = row.get(name)
    if type(value) in (int, float):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise BadRowError(f"column {name!r}: {not_of('text', value)}")
    return {"reference_answer": value.strip()} if value and value.strip() else {}


def text(row: Mapping[str, Any], key: str) -> str:
    """The text under a key; the row is bad where there is none."""
    value = row.get(key)
    if not isinstance(value, str):
        raise BadRowError(f"column {key!r}: {not_of('text', value)}")
    return value


def part(item: Mapping[str, Any], key: str, column: str) -> str | None:
    """The text, or null, under a key of an object that stands in a column."""
    if key not in item:
        raise BadRowError(f"column {column!r}: {key!r} is missing; found: {', '.join(item)}")
    found = item[key]
    if found is not None and not isinstance(found, str):
        raise BadRowError(f"column {column!r}: {key!r} {not_of('text', found)}")
    return found


def objects(row: Row, key: str) -> list[Row]:
    """The list of objects under a key; the row is bad where there is none."""
    found = row.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadRowError(f"column {key!r}: {not_of('a list of objects', found)}")
    return found


def _talk(row: Row, column: str) -> tuple[Row, Row]:
    """The user's and the assistant's turn."""
    turns = row[column]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRowError(f"column {column!r}: is no list of {{role, content}}")
    talk = [turn for turn in turns if turn.get("role") not in _INSTRUCTIONS]
    roles = [turn.get("role") for turn in talk]
    if roles != ["user", "assistant"]:
        raise BadRowError(f"column {column!r}: needs one user and one assistant turn, has {roles}")
    return talk[0], talk[1]


def _content(turn: Row) -> str:
    """The text of a turn; parts of text are put together by newlines, as vLLM does."""
    found = turn.get("content")
    parts = found if isinstance(found, list) else []
    if parts and all(isinstance(one, dict) and one.get("type") in _TEXT_PARTS for one in parts):
        return "\n".join(text(one, "text") for one in parts)
    return text(turn, "content")


def _replied(columns: Row, reasoning: object, answer: str, thinks: bool) -> Candidate:
    """A reply beside the columns of its row.

    An ``answer`` among them that stands beside a ``problem`` or is not the reply's is the gold one
    (our choice), unless there is a ``reference_answer``.
    """
    answer = answer.strip()
    is_gold = "problem" in columns or columns.get("answer") != answer
    if is_gold and columns.get("reference_answer") is None:
        columns = columns | gold(columns, "answer")
    return Candidate(columns | {"reasoning": reasoning, "answer": answer}, thinks)
