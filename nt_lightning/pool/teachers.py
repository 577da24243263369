"""Teachers, and what becomes of their replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nt_lightning.errors import UserError
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.request import Request, messages_of, read_reply
from nt_lightning.requests.store import RequestStore, Stored
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN
from nt_lightning.traces.responses import split_response

ENDED = frozenset({"", "stop", "eos", "eos_token", "end_turn", "stop_sequence"})
CUT_OFF = "cut off at max_tokens"
HOLDS_A_TAG = "holds a think tag"
NOT_ASKED, GAVE_UP = "not asked", "no reply after all attempts"
STATES = {"refused": "refused by the server", "gave_up": GAVE_UP}


@dataclass(frozen=True, kw_only=True)
class Teacher(Endpoint):
    """A teacher: a model on a server, and how it is asked.

    Temperature 0.6, top-p 0.95 are our choice, NaturalThoughts does not give its own; the 16,384
    tokens of a response are the paper's.

    Args:
        name: The teacher's name in the pool; the model's by default.
        samples: Responses to each question.
        system: System prompt; none by default, as DeepSeek recommends for R1.
        **rest: Arguments of ``Endpoint``.
    """

    name: str | None = None
    samples: int = 1
    system: str | None = None

    @property
    def called(self) -> str:
        """Its name in the pool."""
        return self.name or self.model

    def requests(self, question: str) -> list[Request]:
        """One request for each sample; a ``seed`` in the body grows by one with each."""
        body = self.body(messages_of(self.system, question))
        seeds = [{"seed": body["seed"] + n} if "seed" in body else {} for n in range(self.samples)]
        return [
            Request.of({**body, **seed}, self.max_tokens, sample)
            for sample, seed in enumerate(seeds)
        ]

    def check(self, name: str) -> None:
        """As ``Endpoint.check``; several samples of one request must be able to differ."""
        super().check(name)
        if self.samples < 1:
            raise UserError(f"{name}.samples is {self.samples}; allowed: 1 and more")
        body = self.body([])
        if "seed" in body and type(body["seed"]) is not int:
            raise UserError(f"{name}.extra_body.seed is {body['seed']!r}; allowed: a whole number")
        if self.samples > 1 and body.get("temperature") == 0:
            raise UserError(
                f"{name}.temperature is 0 and samples is {self.samples}: they would all be the "
                "same; allowed: samples 1, or a temperature above 0"
            )

    def about(self) -> dict[str, Any]:
        """What the lineage says of it."""
        own = {"name": self.called, "samples": self.samples, "system": self.system}
        return {**own, **super().about()}


def check_teachers(teachers: Sequence[Teacher]) -> None:
    """Refuse teachers that cannot be asked or told apart.

    Raises:
        UserError: There is none, two have one name or send the same requests (the store knows a
            request by its body alone), or one has a wrong argument.
    """
    if not teachers:
        raise UserError("teachers is empty; give at least one")
    for name, count in Counter(teacher.called for teacher in teachers).items():
        if count > 1:
            raise UserError(f"{count} teachers are called {name!r}; give each its own name")
    for place, teacher in enumerate(teachers):
        teacher.check(f"teachers[{place}]")
    senders: dict[bytes, str] = {}
    for teacher in teachers:
        for request in teacher.requests("?"):
            other = senders.setdefault(request.key, teacher.called)
            if other != teacher.called:
                raise UserError(
                    f"teachers {other!r} and {teacher.called!r} send the same requests, so that "
                    "one's replies would count as the other's; serve one of them under another "
                    "model name (vLLM: --served-model-name, llama.cpp: --alias)"
                )


class Response(NamedTuple):
    """A teacher's response as a trace needs it, or why it is none.

    Args:
        reasoning: Text of the think block; empty without one.
        answer: Text after it.
        tokens: Tokens of the response by the server's count.
        finish_reason: By the server.
        left_out: Why it cannot be a trace; ``None`` if it can.
    """

    reasoning: str
    answer: str
    tokens: int | None
    finish_reason: str
    left_out: str | None


def last_try(request: Request, store: RequestStore) -> tuple[Request, Stored | None]:
    """The last try at a request that has an end, and what came of it.

    Args:
        request: The first try; there are further ones where it was refused.
        store: Has the tries.
    """
    stored = store.find([request.key]).get(request.key)
    while stored is not None and stored.state == "refused":
        again = request.again()
        found = store.find([again.key]).get(again.key)
        if found is None or found.state == "gave_up":
            break
        request, stored = again, found
    return request, stored


def response_of(stored: Stored | None) -> Response:
    """A teacher's response from the store.

    Reasoning is what the server has told apart, but for a tag that it has left in front of either
    part, else what stands in a think block. A response that was cut off, is empty, cannot be
    split or holds a further think tag is none: the paper drops truncated ones, and half a thought
    teaches students never to end.
    """
    if stored is None or stored.state != "replied" or stored.body is None:
        state = NOT_ASKED if stored is None else STATES.get(stored.state, stored.state)
        return Response("", "", None, "", state)
    reply = read_reply(stored.body)
    reasoning = reply.reasoning.strip().removeprefix(THINK_OPEN).strip()
    answer = reply.text.strip()
    if reply.reasoning.strip():
        answer = answer.removeprefix(THINK_CLOSE).strip()
    why: str | None = None
    if reply.finish_reason == "length":
        why = CUT_OFF
    elif reply.finish_reason not in ENDED:
        why = f"finish_reason {reply.finish_reason}"
    elif not reply.reasoning.strip():
        try:
            reasoning, answer = split_response(reply.text)
        except ValueError as error:
            why = str(error)
    if why is None and any(tag in reasoning + answer for tag in (THINK_OPEN, THINK_CLOSE)):
        why = HOLDS_A_TAG
    if why is None and not answer:
        why = "empty" if not reasoning else "reasoning without an answer"
    return Response(reasoning, answer, reply.completion_tokens, reply.finish_reason, why)
