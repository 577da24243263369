"""Where requests go: an OpenAI-compatible server and a model of it."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from nt_lightning.errors import UserError

SHORTEST_KEY = 8  # shorter ones (EMPTY, none, ollama) are words, and no secrets (our choice)
_KEY_FIELDS = ("api_key", "apikey", "x_api_key", "key", "authorization", "token", "access_token")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server and a model of it.

    Args:
        model: Name that the server knows.
        base_url: Address up to ``/v1``: vLLM, SGLang, llama.cpp, ``transformers serve``, a
            provider.
        api_key_env: Environment variable that holds the key; the key itself is written nowhere. One
            of fewer than 8 characters is a placeholder and no secret.
        temperature: Sampling temperature; null leaves it to the server.
        top_p: Nucleus sampling; null leaves it to the server.
        max_tokens: Longest reply in tokens, reasoning included.
        extra_body: Further fields of the request, such as chat_template_kwargs or
            reasoning_effort; null removes a field.
        concurrency: Most requests at a time; fewer while the server says 429 or is slow.
        timeout_s: Longest wait for one reply, in seconds.
        usd_per_million_input: US dollars for a million prompt tokens; 0: they cost nothing, null:
            not known, so that nothing is counted and caps.max_usd is refused.
        usd_per_million_output: The same for a million tokens of replies.
    """

    model: str
    base_url: str = "http://localhost:8000/v1"
    api_key_env: str | None = None
    temperature: float | None = 0.6
    top_p: float | None = 0.95
    max_tokens: int = 16384
    extra_body: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 64
    timeout_s: float = 1800.0
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None

    path: ClassVar[str] = "/chat/completions"

    def body(self, messages: Any, **further: Any) -> dict[str, Any]:
        """The JSON of a request."""
        whole = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            **further,
            **self.extra_body,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def check(self, name: str) -> None:
        """Refuse what cannot work, before anything is sent.

        Args:
            name: The option, for the message.

        Raises:
            UserError: A value is out of its range, the address holds a key or no scheme, or the
                variable of the key is not set.
        """
        least = {"concurrency": 1, "max_tokens": 1, "temperature": 0, "usd_per_million_input": 0}
        least["usd_per_million_output"] = 0
        for field_name, bound in least.items():
            value = getattr(self, field_name)
            if value is not None and not value >= bound:
                raise UserError(f"{name}.{field_name} is {value}; allowed: {bound} and more")
        if not 0 < self.timeout_s < math.inf:
            raise UserError(f"{name}.timeout_s is {self.timeout_s}; allowed: more than 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"{name}.top_p is {self.top_p}; allowed: above 0, up to 1")
        self._check_extra_body(name)
        self._check_base_url(name)
        self.api_key()

    def _check_extra_body(self, name: str) -> None:
        further = [self.extra_body.get(field_name) for field_name in ("headers", "extra_headers")]
        for fields in (self.extra_body, *(one for one in further if isinstance(one, dict))):
            for field_name in fields:
                if str(field_name).lower().replace("-", "_") in _KEY_FIELDS:
                    raise UserError(
                        f"{name}.extra_body: {field_name}: not allowed, since a body is written "
                        f"down; a key belongs into an environment variable: {name}.api_key_env"
                    )
        for field_name in ("messages", "model", "n", "stream"):
            if self.extra_body.get(field_name) is not None:
                raise UserError(
                    f"{name}.extra_body.{field_name}: not allowed; a request has one whole reply"
                )
        body = self.body([])
        limits = [body[key] for key in ("max_tokens", "max_completion_tokens") if key in body]
        if not limits or not all(type(limit) is int and limit >= 1 for limit in limits):
            raise UserError(
                f"{name}.extra_body leaves max_tokens and max_completion_tokens as {limits}; "
                "needed: one of them, 1 and more, since a reply must end"
            )

    def _check_base_url(self, name: str) -> None:
        if self.base_url.rstrip("/").endswith(self.path):
            raise UserError(f"{name}.base_url ends in {self.path}, which is added; it ends in /v1")
        if set("@?#") & set(self.base_url):
            raise UserError(
                f"{name}.base_url holds a user, a password or a query; "
                f"a key belongs into an environment variable: {name}.api_key_env"
            )
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port of 99999, an open bracket
            usable = False
        if not usable or not self.base_url.isprintable():
            raise UserError(
                f"{name}.base_url is {self.base_url!r}; needed: http://HOST:PORT/v1 or https://..."
            )

    def api_key(self) -> str | None:
        """The key, from the environment; placeholders of local servers (EMPTY, ollama) too.

        Raises:
            UserError: The variable is not set, or holds what is no key.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            is_name = re.fullmatch("[A-Z_][A-Z0-9_]*", self.api_key_env)
            shown = self.api_key_env if is_name else "(not shown, since it may be the key itself)"
            raise UserError(f"api_key_env: the environment variable {shown} is not set")
        if not re.fullmatch("[!-~]+", key):
            raise UserError(
                f"api_key_env: the environment variable {self.api_key_env} holds a blank or a "
                "character out of ASCII; needed: the key alone"
            )
        return key

    def secret(self) -> str | None:
        """The key where it is one: a short value is a word, and not looked for in replies."""
        key = self.api_key()
        return key if key is not None and len(key) >= SHORTEST_KEY else None

    @property
    def url(self) -> str:
        """Address of what is asked."""
        return f"{self.base_url.rstrip('/')}{self.path}"

    def hint(self, status: int | None) -> str:
        """What may be wrong where a server does not know the address."""
        known = self.base_url.rstrip("/").endswith("/v1")
        return "" if known or status not in (404, 405) else "; base_url should end in /v1"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of a request in US dollars."""
        input_usd = prompt_tokens * (self.usd_per_million_input or 0.0)
        return (input_usd + completion_tokens * (self.usd_per_million_output or 0.0)) / 1e6

    def about(self) -> dict[str, Any]:
        """What a lineage says of it: all but its address, its key and its speed."""
        asked = self.body([])
        return {name: value for name, value in asked.items() if name != "messages"}


@dataclass(frozen=True)
class CompletionEndpoint(Endpoint):
    """The same for prompts that are rendered here, and not by the server's chat template."""

    path: ClassVar[str] = "/completions"
