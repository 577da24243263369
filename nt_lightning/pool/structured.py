"""Replies of a fixed form: JSON found in a text, checked by its schema, asked for once more."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from nt_lightning.pool.segments import harmless
from nt_lightning.requests.request import Request, read_reply
from nt_lightning.requests.said import whole
from nt_lightning.requests.store import RequestStore, Stored
from nt_lightning.requests.token_bound import tokens_of
from nt_lightning.traces.responses import split_response

Schema = dict[str, Any]
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_SHOWN = 300
NOT_ASKED, GAVE_UP = "not asked", "gave up"  # problems that the same command can still mend
UNFINISHED = (NOT_ASKED, GAVE_UP)
AGAIN = (
    "That reply cannot be used: {problem}. Reply again, with nothing but a JSON object that fits "
    "this schema:\n{schema}"
)


class Form(NamedTuple):
    """What a reply has to be.

    Args:
        name: For the server.
        schema: JSON schema of an object.
        send: Whether the server is told (``response_format``), so that it can write no other.
    """

    name: str
    schema: Schema
    send: bool

    def fields(self) -> dict[str, Any]:
        """What is added to a request's body."""
        if not self.send:
            return {}
        inner = {"name": self.name, "schema": self.schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}


class Answer(NamedTuple):
    """What came of a request: its values, or why there are none."""

    values: dict[str, Any] | None
    problem: str | None


def read_values(text: str, schema: Schema) -> Answer:
    """The object in a reply: the whole text, else what is fenced, else from { to }.

    Text of a think block is passed over. Texts in it lose the blanks around them and halves of
    surrogate pairs, and ``2.0`` is the whole number that JSON schema takes it for.

    Args:
        text: The reply.
        schema: What the object has to fit.
    """
    try:
        text = split_response(text)[1]
    except ValueError as error:
        return Answer(None, str(error))
    fenced = _FENCE.findall(text)
    inner = text[text.find("{") : text.rfind("}") + 1]
    problem = "is no JSON object"
    for candidate in (text, *fenced[-1:], inner):
        try:
            values = _clean(json.loads(candidate))
        except (ValueError, RecursionError):
            continue
        if not isinstance(values, dict):
            continue
        wrong = next(iter(Draft202012Validator(schema).iter_errors(values)), None)
        if wrong is None:
            return Answer(values, None)
        problem = f"{wrong.json_path}: {wrong.message}"
    return Answer(None, problem if len(problem) <= _SHOWN else f"{problem[:_SHOWN]} ...")


def read_stored(stored: Stored | None, schema: Schema) -> Answer:
    """The object in a stored reply."""
    if stored is None:
        return Answer(None, NOT_ASKED)
    if stored.state != "replied" or stored.body is None:
        return Answer(None, stored.state.replace("_", " "))
    reply = read_reply(stored.body)
    found = read_values(reply.text, schema)
    if found.values is None and reply.finish_reason == "length":
        return Answer(None, "cut off at max_tokens")
    return found


def repair_of(request: Request, stored: Stored, schema: Schema) -> Request | None:
    """The one further request after a reply that does not fit; ``None`` where none helps.

    Args:
        request: What was asked.
        stored: Its reply.
        schema: What the reply has to fit.
    """
    if stored.state != "replied" or stored.body is None:
        return None
    problem = read_stored(stored, schema).problem
    if problem is None:
        return None
    body = json.loads(request.body)
    said = harmless(read_reply(stored.body).text) or "(nothing)"
    text = AGAIN.format(problem=harmless(problem), schema=json.dumps(schema))
    further = [{"role": "assistant", "content": said}, {"role": "user", "content": text}]
    body["messages"] = [*body["messages"], *further]
    again = Request.of(body, request.max_completion_tokens)
    for _ in range(request.number):  # a further try has a repair of its own
        again = again.again()
    return again


def repair_tokens(schema: Schema) -> int:
    """Tokens that a repair adds to a request, but for the two replies."""
    return tokens_of(AGAIN) + _SHOWN + tokens_of(json.dumps(schema))


def final_answer(request: Request, schema: Schema, store: RequestStore) -> Answer:
    """The values of a request, or of its repair, or of a further try; else the last problem."""
    found = _answer(request, schema, store)
    while found.values is None and store.is_final((again := request.again()).key):
        request, found = again, _answer(again, schema, store)
    return found


def next_try(request: Request, schema: Schema, store: RequestStore) -> Request:
    """The request itself, or where its tries have failed for good, the first further one.

    Args:
        request: What is wanted.
        schema: What the reply has to fit.
        store: Has the tries.
    """
    while store.is_final(request.key):
        found = _answer(request, schema, store)
        if found.values is not None or found.problem in UNFINISHED:
            break
        request = request.again()
    return request


def _answer(request: Request, schema: Schema, store: RequestStore) -> Answer:
    """The values of one try, or of its repair."""
    stored = store.find([request.key]).get(request.key)
    found = read_stored(stored, schema)
    if found.values is not None or stored is None:
        return found
    again = repair_of(request, stored, schema)
    if again is None:
        return found
    return read_stored(store.find([again.key]).get(again.key), schema)


def _clean(value: Any) -> Any:
    """A value of JSON as columns can hold it."""
    if isinstance(value, str):
        return whole(value).strip()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {whole(name): _clean(one) for name, one in value.items()}
    return value
