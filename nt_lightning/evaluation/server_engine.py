"""The engine behind an address: an OpenAI-compatible server with the student, such as vLLM."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.loops import CHECK_EVERY, goes_round
from nt_lightning.evaluation.outcomes import FinishReason
from nt_lightning.evaluation.server import Server
from nt_lightning.files import cache_dir, digest, sweep, waiting_folder
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps
from nt_lightning.requests.endpoint import CompletionEndpoint
from nt_lightning.requests.jobs import Asked, Job
from nt_lightning.requests.request import Reply, Request, read_reply
from nt_lightning.requests.store import RequestStore, Stored
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

log = logging.getLogger(__name__)
UNFINISHED = Generation("", 0, "time")
# vLLM says "repetition" where it was asked to look for one; whatever else a server says
# (content_filter, nothing at all) is no end of ours, and such a response is not evaluated
REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "loop"}


class ServerEngine(Engine):
    """Asks a server for completions of prompts that are rendered here, as in training.

    Its responses are those of the engine in this process, but for rounding: a loop is cut where
    that one would have ended it. What the server did not finish, for a filter of its own say, is
    not evaluated, and no response that is under way at the deadline is cut (both our choice).
    ``transformers serve`` says ``length`` also where the stop token is the last one allowed, so it
    is asked for one token more, which it is told to make a stop token.

    Args:
        server: Where.
        formatter: With the tokenizer of the served student.
        family: Model type of the student, such as ``qwen2``.
        context: Tokens of a prompt and its response together that the student can read.

    Raises:
        UserError: The tokenizer's think tags are special tokens, which a server that takes text
            leaves out of its replies.
    """

    def __init__(
        self, server: Server, formatter: PromptFormatter, family: str, context: int | None = None
    ) -> None:
        self.server, self.formatter, self.family, self.context = server, formatter, family, context
        tokenizer = formatter.tokenizer
        added = tokenizer.added_tokens_decoder.values()
        special = {entry.content for entry in added if entry.special}
        special |= set(tokenizer.all_special_tokens)
        self._hidden = sorted(special - {THINK_OPEN, THINK_CLOSE}, key=len, reverse=True)
        self._shows_special = bool(special & {THINK_OPEN, THINK_CLOSE})
        if self._shows_special and server.prompts == "text":
            raise UserError(
                "server.prompts is 'text', but think tags are special tokens of "
                f"{tokenizer.name_or_path!r}, which are left out of replies then; "
                "allowed: ids"
            )

    def about(self) -> dict[str, Any]:
        """The served model, what the user calls its weights, and the template."""
        return {
            "engine": "server",
            "model": self.server.model,
            "revision": self.server.revision,
            "extra_body": self.server.extra_body,
            "formatter": digest(self.formatter.fingerprint()),
        }

    def is_known(self) -> bool:
        """Whether the user has named the weights."""
        return self.server.revision is not None

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        limits: Limits,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> list[Generation]:
        """One response per prompt, in their order.

        ``limits.max_tokens`` counts prompts too, and a request goes only where its longest reply
        fits.

        Raises:
            UserError: No request will do: the address, the key or the model is wrong; or a prompt
                leaves no room for a response.
        """
        limits.poll()
        endpoint = self.server.endpoint(sampling, self._stop_ids())
        requests = [self._request(endpoint, prompt, sampling) for prompt in prompts]
        job = Job(self.server.model, endpoint, iter(requests), len(requests))
        caps, seconds = Caps(max_tokens=limits.max_tokens), None
        if limits.deadline is not None:
            seconds = max(0.0, limits.deadline - time.monotonic())
        with self._store(
            sampling, limits.may_keep
        ) as store:  # with a purpose of its own, a call has its own caps
            asked = ask([job], store, f"evaluate {uuid.uuid4().hex}", caps, seconds)
            found = store.find([request.key for request in requests])
        responses = [UNFINISHED] * len(prompts)
        reasons: Counter[str] = Counter()
        for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
            stored = found.get(request.key)
            if stored is None or stored.state != "replied" or stored.body is None:
                continue
            reply = read_reply(stored.body)
            reasons[reply.finish_reason] += reply.finish_reason not in REASONS
            responses[index] = self._response(prompt, reply, sampling)
            on_response(index, responses[index])
        self._warn(asked, found, reasons)
        on_progress(sum(response.finish_reason != "time" for response in responses))
        return responses

    def _stop_ids(self) -> list[int]:
        ids = {self.formatter.stop_token_id, self.formatter.tokenizer.eos_token_id}
        return sorted(token for token in ids if token is not None)

    def _request(self, endpoint: CompletionEndpoint, prompt: Prompt, sampling: Sampling) -> Request:
        most = prompt.limit(sampling)
        if self.context is not None:
            most = min(most, self.context - len(prompt.ids))
            if most < 1:
                raise UserError(
                    f"a prompt of {len(prompt.ids)} tokens leaves no room for a response: the "
                    f"model's context (max_position_embeddings) is {self.context}"
                )
        seed, is_text = _seed(sampling.seed, prompt.key), self.server.prompts == "text"
        body = endpoint.body(
            None,
            prompt=self._text(prompt) if is_text else list(prompt.ids),
            max_tokens=most + is_text,
            seed=seed if sampling.temperature > 0 else None,
            skip_special_tokens=False if self._shows_special else None,
        )
        return Request.of(body, most + is_text, sample=seed)

    def _text(self, prompt: Prompt) -> str:
        """The text of a prompt, if the server's tokenizer makes the same ids of it.

        Raises:
            UserError: It makes others: it puts a token in front, or the seam in front of what the
                response is begun with is lost.
        """
        text, tokenizer = prompt.text + prompt.begun, self.formatter.tokenizer
        bos = tokenizer.bos_token
        for sent in (text, text.removeprefix(bos) if isinstance(bos, str) else text):
            if tokenizer(sent)["input_ids"] == list(prompt.ids):
                return sent
        raise UserError(
            f"server.prompts is 'text', but the tokenizer of {tokenizer.name_or_path!r} makes "
            f"other ids of the rendered prompt than the student was trained on, at {text[-40:]!r}; "
            "allowed: ids"
        )

    def _response(self, prompt: Prompt, reply: Reply, sampling: Sampling) -> Generation:
        """A reply as a response; its tokens by the server's count, else by the tokenizer's."""
        text, reason = reply.text, REASONS.get(reply.finish_reason, "time")
        for token in self._hidden if self._shows_special else ():
            text = text.replace(token, "")
        ids = self.encode(text)
        if sampling.stop_loops and (length := _loop_end(ids)) is not None:
            cut = self.formatter.tokenizer.decode(ids[:length], clean_up_tokenization_spaces=False)
            return Generation(prompt.begun + str(cut), length, "loop")
        count = reply.completion_tokens or len(ids) + (reason == "stop")
        if self.server.prompts == "text" and reply.completion_tokens and reason == "length":
            count -= 1  # the forced one
        return Generation(prompt.begun + text, count, reason)

    def _warn(
        self, asked: Asked, found: Mapping[bytes, Stored], reasons: Mapping[str, int]
    ) -> None:
        """Say what has no response, and why."""
        name, total = self.server.model, asked.total
        if failed := [one.error for one in found.values() if one.state != "replied"]:
            what = "have no reply; the first one"
            log.warning("%s: %d of %d %s: %s", name, len(failed), total, what, failed[0])
        for reason, count in reasons.items():
            if count:
                said = f"finish_reason {reason!r}" if reason else "no finish_reason"
                log.warning("%s: %d of %d ended with %s", name, count, total, said)
        if asked.capped:
            log.warning("%s: %d of %d not asked: %s", name, asked.not_asked, total, asked.room)

    @contextmanager
    def _store(self, sampling: Sampling, may_keep: bool) -> Iterator[RequestStore]:
        """Replies so far: kept under the name of the weights, else for this call alone."""
        folder = cache_dir() / "served"
        if self.is_known() and may_keep:
            name = digest([self.about(), asdict(sampling)])
            with closing(RequestStore(folder / f"{name[:32]}.sqlite")) as store:
                yield store
            return
        sweep(folder / "unnamed")
        with (
            waiting_folder(folder / "unnamed") as own,
            closing(RequestStore(own / "requests.sqlite")) as store,
        ):
            yield store


def _seed(seed: int, key: str) -> int:
    """A server's seed for a response."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4], "big") >> 1


def _loop_end(ids: Sequence[int]) -> int | None:
    """Where the engine in this process would have ended a response that goes round in circles."""
    lengths = range(CHECK_EVERY, len(ids) + 1, CHECK_EVERY)
    return next((length for length in lengths if goes_round(ids[:length])), None)
