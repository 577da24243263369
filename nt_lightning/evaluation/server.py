"""Where a student is served, and what every request to it says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Sampling
from nt_lightning.requests.endpoint import CompletionEndpoint

_SETTINGS = ("temperature", "top_p", "max_tokens", "seed")  # of the evaluation
_WHOLE = ("prompt", "echo", "suffix", "best_of")  # else a reply is no response to the prompt


@dataclass(frozen=True)
class Server:
    """A served student.

    Args:
        model: Name that the server knows.
        base_url: Address up to ``/v1``: vLLM, SGLang, llama.cpp, ``transformers serve``.
        prompts: ``ids`` sends token ids, and the rest in vLLM's words; ``text`` is for
            ``transformers serve``, which takes no ids: it sends the rendered prompt if the server's
            tokenizer makes the same ids of it.
        revision: What you call these weights: replies are found again only under the same name,
            since nobody can ask a server for its weights. Null: never in another run.
        api_key_env: Environment variable that holds the key; the key itself is written nowhere.
        concurrency: Most requests at a time.
        timeout_s: Longest wait for one reply, in seconds.
        extra_body: Further fields of a request, such as ``priority``; null removes one that the
            server does not take.
    """

    model: str
    base_url: str = "http://localhost:8000/v1"
    prompts: Literal["ids", "text"] = "ids"
    revision: str | None = None
    api_key_env: str | None = None
    concurrency: int = 64
    timeout_s: float = 3600.0
    extra_body: dict[str, Any] = field(default_factory=dict)

    def endpoint(self, sampling: Sampling, stop_ids: Sequence[int] = ()) -> CompletionEndpoint:
        """Where requests go, and what they all say.

        Args:
            sampling: How tokens are chosen; no default of the server's, nor of the model's folder
                (top-k, min-p, repetition penalty), is left in force.
            stop_ids: Tokens that end a response.
        """
        plain: dict[str, Any] = {"min_p": 0.0, "repetition_penalty": 1.0}
        if self.prompts == "ids":
            plain |= {"top_k": -1, "stop_token_ids": list(stop_ids)}
        else:  # its own default samples only where the model's folder says so, and then top-k 50
            plain |= {"top_k": 0, "eos_token_id": list(stop_ids)}
            plain |= {"forced_eos_token_id": list(stop_ids)}  # see ``ServerEngine``
            plain["do_sample"] = sampling.temperature > 0
            plain = {"generation_config": json.dumps(plain)}
        return CompletionEndpoint(
            model=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            extra_body=plain | self.extra_body,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
        )

    def check(self, name: str) -> None:
        """Refuse what cannot work, before anything is sent.

        Args:
            name: The option, for the message.

        Raises:
            UserError: A value is out of its range, or ``extra_body`` says what is said elsewhere.
        """
        for given in (*_SETTINGS, *_WHOLE):
            if self.extra_body.get(given) is not None:
                where = "the evaluation's settings say it" if given in _SETTINGS else "not allowed"
                raise UserError(f"{name}.extra_body.{given} is {self.extra_body[given]!r}; {where}")
        self.endpoint(Sampling(1, 0.0, 1.0, 0)).check(name)
