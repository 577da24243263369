"""Annotators: what is asked about a trace, in which words, and what the reply has to be."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2 import StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.pool.segments import Segment, cut, fit, harmless, segments_of
from nt_lightning.pool.structured import Form, Schema, repair_tokens
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.request import Request, messages_of
from nt_lightning.requests.token_bound import tokens_of

Aspect = Literal["topic", "strategies", "verbosity"]
ASPECTS: tuple[Aspect, ...] = ("topic", "strategies", "verbosity")
PROMPTS = Path(__file__).parent / "prompts"
LEAST_ROOM = 2048  # tokens beside two replies: the words of a prompt and of a repair
CHAT_TOKENS, LINE_TOKENS, MARK_TOKENS = 128, 4, 32  # of a chat template, an item, a mark
DOMAINS = (  # the 13 disciplines of SuperGPQA, as in NaturalThoughts
    *("Engineering", "Philosophy", "Medicine", "Economics", "Science", "Law", "History"),
    *("Education", "Management", "Literature and Arts", "Agronomy", "Sociology"),
    "Military Science",
)
VOCABULARY = {  # our choice: NaturalThoughts names the first three and not the rest
    "self-verification": "checks a result or a step",
    "backtracking": "gives up an approach and goes back",
    "exploration": "considers several approaches or cases before choosing",
    "decomposition": "splits the problem into parts",
    "forward-calculation": "computes or derives step by step",
    "working-backward": "starts from what is wanted",
    "analogy": "uses a similar problem or an example",
    "case-analysis": "goes through cases one by one",
    "elimination": "rules out possibilities",
    "recall": "brings in a fact, a formula or a definition",
    "restatement": "says the problem or the state in other words",
    "estimation": "approximates or checks orders of magnitude",
    "contradiction": "assumes something and derives a contradiction",
    "generalisation": "goes from instances to a rule",
    "summary": "collects what has been found",
}


@dataclass(frozen=True, kw_only=True)
class Annotator(Endpoint):
    """A model that annotates, and how it is asked.

    Temperature 0, 4,096 tokens and the rule for long traces are our choice.

    Args:
        context_tokens: The model's window: prompt, reply, and one repair with its reply. A trace
            that may be longer, by the count of ``tokens_of``, is shown from the front
            and from the end.
        structured_output: Send the JSON schema, so that the server can write nothing else; vLLM,
            SGLang, llama.cpp and OpenAI know it.
        **rest: Arguments of ``Endpoint``.
    """

    temperature: float | None = 0.0
    top_p: float | None = None
    max_tokens: int = 4096
    context_tokens: int = 131072
    structured_output: bool = True

    def check(self, name: str) -> None:
        """As ``Endpoint.check``; the window must hold more than two replies."""
        super().check(name)
        least = 2 * self.max_tokens + LEAST_ROOM
        if self.context_tokens < least:
            raise UserError(
                f"{name}.context_tokens is {self.context_tokens}; "
                f"allowed: {least} and more, {LEAST_ROOM} beside twice max_tokens"
            )


@dataclass(frozen=True)
class Prompts:
    """The words in which annotators and judges are asked.

    Args:
        folder: Files that replace the built-in ones: topic.jinja, strategies.jinja,
            verbosity.jinja, judge.jinja.
        domains: Disciplines of ``topic``.
        vocabulary: Reasoning strategies by name, with a few words about each. Other names that an
            annotator gives are kept and counted.
    """

    folder: str | None = None
    domains: list[str] = field(default_factory=lambda: list(DOMAINS))
    vocabulary: dict[str, str] = field(default_factory=lambda: dict(VOCABULARY))

    def text(self, name: str) -> str:
        """A prompt's template.

        Raises:
            UserError: The folder is not there or has no prompt at all.
        """
        folder = Path(self.folder) if self.folder else PROMPTS
        if not any(folder.glob("*.jinja")):
            allowed = ", ".join(sorted(path.name for path in PROMPTS.glob("*.jinja")))
            raise UserError(f"prompts.folder: {folder} has no prompt; allowed: {allowed}")
        path = folder / f"{name}.jinja"
        return _read(path if path.is_file() else PROMPTS / path.name)

    def render(self, name: str, **values: Any) -> str:
        """A prompt with its values, which are data: no template is ever made of them.

        The ``mark`` that frames them is a digest of them, so that no text can hold its own.

        Raises:
            UserError: The template is wrong.
        """
        said = digest({key: value for key, value in values.items() if key not in vars(self)})
        given = {"domains": self.domains, "vocabulary": self.vocabulary, **values}
        text = self.text(name)
        try:
            return _template(text).render(**given, mark=f"-----{said[:16]}-----")
        except Exception as error:  # a template is a program, and may fail as one
            there = f"names: {', '.join(sorted([*given, 'mark']))}"
            where = f"line {_line_of(error)}; {there}"
            raise UserError(f"prompt {name}.jinja: {error} ({where})") from None

    def room(self, name: str, schema: Schema, asked: Annotator) -> int:
        """Tokens of a window that a prompt leaves to its values.

        Room is kept for the prompt's own words, the reply, a repair and its reply.

        Args:
            name: The prompt.
            schema: What the reply has to fit.
            asked: Whose window.

        Raises:
            UserError: There is none.
        """
        text = self.text(name)
        items = [*self.domains, *self.vocabulary, *self.vocabulary.values()]
        words = tokens_of(text) + sum(tokens_of(item) + LINE_TOKENS for item in items)
        words += MARK_TOKENS * text.count("mark") + CHAT_TOKENS + repair_tokens(schema)
        room = asked.context_tokens - 2 * asked.max_tokens - words
        if room < 1:
            raise UserError(
                f"prompt {name}.jinja: up to {words} tokens with a repair and two replies of "
                f"{asked.max_tokens} leave no room in context_tokens {asked.context_tokens}"
            )
        return room

    def digest(self, name: str, schema: Schema) -> str:
        """Short digest of a prompt with all that shapes it."""
        parts = (self.text(name), self.domains, self.vocabulary, schema)
        return digest(parts)[:12]


def schema_of(aspect: Aspect, prompts: Prompts, num_segments: int = 1) -> Schema:
    """What a reply about an aspect has to fit.

    Args:
        aspect: What is asked.
        prompts: Gives the domains.
        num_segments: Segments of the trace, for ``strategies``.
    """
    if aspect == "topic":
        return object_schema(
            domain={"type": "string", "enum": list(prompts.domains)},
            topic={"type": "string", "minLength": 1, "maxLength": 100},
        )
    if aspect == "verbosity":
        return object_schema(verbosity={"type": "integer", "minimum": 0, "maximum": 10})
    step = object_schema(
        first_segment={"type": "integer", "minimum": 1, "maximum": num_segments},
        strategies={"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 60}},
    )
    return object_schema(steps={"type": "array", "minItems": 1, "items": step})


def settings_of(
    annotator: Annotator, prompts: Prompts, aspects: Sequence[Aspect]
) -> dict[str, Any]:
    """What decides about the annotations of a pool."""
    digests = {a: prompts.digest(a, schema_of(a, prompts)) for a in aspects}
    return {"command": "pool annotate", "annotator": annotator.about(), "prompts": digests}


def request_of(
    aspect: Aspect, row: Mapping[str, str], annotator: Annotator, prompts: Prompts
) -> tuple[Request, Schema, list[Segment]]:
    """The request about one trace, what its reply has to fit, and the trace's segments."""
    segments = segments_of(row["reasoning"]) if aspect != "topic" else []
    schema = schema_of(aspect, prompts, len(segments))
    room = prompts.room(aspect, schema, annotator)
    question = cut(harmless(row["question"]), room // 4)
    harmless_ones = [one._replace(text=harmless(one.text)) for one in segments]
    shown = fit(harmless_ones, room - min(len(question.encode()), room // 4))
    values = {"question": question, **({"segments": shown} if segments else {})}
    text = prompts.render(aspect, **values)
    form = Form(aspect, schema, annotator.structured_output)
    body = annotator.body(messages_of(None, text), **form.fields())
    return Request.of(body, annotator.max_tokens), schema, segments


@functools.cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _line_of(error: Exception) -> int | str:
    """The line of a template at which it has failed, from 1."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == "<template>"
    ]
    return lines[-1] if lines and lines[-1] else "unknown"


@functools.cache
def _template(text: str) -> Template:
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(text)


def object_schema(**properties: Schema) -> Schema:
    """JSON schema of an object that has all of these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
