"""Budget forcing: thinking that is ended at a cap, or sent back to think on.

Source: Muennighoff et al., s1: Simple test-time scaling (arXiv:2501.19393), section 3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

END_OF_THINKING = f"\n{THINK_CLOSE}\n\n"  # as in training (``formatting.response_text``)
CUT_CHARACTER = "\ufffd"  # what a character decodes to that ends behind the last token


@dataclass(frozen=True)
class BudgetForcing:
    """How long the student thinks, whatever it would do; No-Think is left alone.

    A student that stops within its thought has ended it: the end of thinking is put behind it, and
    the answer begins, as in s1's own evaluation.

    Args:
        max_thinking_tokens: An open think block is closed after so many tokens and the answer
            begins; null leaves it open.
        num_waits: How often an end of thinking is taken back and ``wait`` put in its place.
        wait: What makes the student think on.

    Raises:
        UserError: A value is out of its range, or nothing is forced.
    """

    max_thinking_tokens: int | None = None
    num_waits: int = 0
    wait: str = "Wait"

    def __post_init__(self) -> None:
        most, waits = self.max_thinking_tokens, self.num_waits
        if most is not None and most < 1:
            raise UserError(f"forcing.max_thinking_tokens is {most}; allowed: 1 and more, or null")
        if waits < 0:
            raise UserError(f"forcing.num_waits is {waits}; allowed: 0 and more")
        if most is None and not waits:
            raise UserError("forcing: give max_thinking_tokens, num_waits or both; else nothing")
        if not self.wait:
            raise UserError("forcing.wait is empty; needed: a text such as 'Wait'")


@dataclass
class _Going:
    """A response under way.

    Attributes:
        index: Place among the prompts of the call.
        prompt: What was asked.
        begun: Text of the response so far.
        ids: All that stands behind the prompt, generated or forced.
        limit: Of the stretch under way, in tokens.
        num_waits: How often thinking was sent on.
        round: Stretches behind it.
    """

    index: int
    prompt: Prompt
    begun: str
    ids: tuple[int, ...] = ()
    limit: int = 0
    num_waits: int = 0
    round: int = 0

    @property
    def is_thinking(self) -> bool:
        """Whether a think block is open."""
        return THINK_OPEN in self.begun and THINK_CLOSE not in self.begun


class _Forced:
    """A call's responses and the rules about their thinking."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        forcing: BudgetForcing,
        on_response: OnResponse,
        on_progress: Callable[[int], None],
    ) -> None:
        self.engine, self.sampling, self.forcing = engine, sampling, forcing
        self.on_response, self.on_progress = on_response, on_progress
        self.done: dict[int, Generation] = {}

    def round(self, left: Sequence[_Going], limits: Limits) -> int:
        """One more stretch of every response; the tokens that were generated."""
        told: set[int] = set()

        def tell(place: int, response: Generation) -> None:
            told.add(place)
            self._take(left[place], response)

        responses = self.engine.generate(
            [self._stretch(one) for one in left],
            self.sampling,
            limits,
            tell,
            lambda _: self.on_progress(len(self.done)),
        )
        for place, response in enumerate(responses):
            if place not in told:  # a limit of the call has cut it
                self._take(left[place], response)
        return sum(response.num_tokens for response in responses)

    def _stretch(self, one: _Going) -> Prompt:
        """The prompt of a response's next stretch: to the cap of its thinking, or to its end."""
        one.limit = one.prompt.limit(self.sampling) - len(one.ids)
        cap = self.forcing.max_thinking_tokens
        if cap is not None and (one.is_thinking or not one.round):  # Adaptive may open a block
            one.limit = min(one.limit, max(1, cap - len(one.ids)))
        return Prompt(
            f"{one.prompt.key}/{one.round}" if one.round else one.prompt.key,
            one.prompt.ids + one.ids,
            one.prompt.text,
            one.begun,
            one.limit,
        )

    def _take(self, one: _Going, response: Generation) -> None:
        """Tell a response that is final, or make it ready for its next stretch."""
        final = self._follow(one, response)
        if final is not None:
            self.done[one.index] = final
            self.on_response(one.index, final)
            self.on_progress(len(self.done))

    def _follow(self, one: _Going, response: Generation) -> Generation | None:
        """The final response; ``None`` if it goes on."""
        ids, text = self._so_far(one, response)
        reason, num_tokens = response.finish_reason, len(one.ids) + response.num_tokens
        whole = Generation(text, num_tokens, reason)
        is_cut = reason == "length" and response.num_tokens < one.limit  # by the context
        if reason in ("time", "loop") or is_cut or self._room(one, num_tokens) < 1:
            return whole
        opened = THINK_OPEN in text
        thinking, closing, _ = text.partition(THINK_CLOSE)
        may_wait = THINK_CLOSE not in one.begun and one.num_waits < self.forcing.num_waits
        if opened and may_wait and (closing or reason == "stop"):
            kept = thinking[len(one.prompt.begun) :].rstrip()
            if self._go_on(one, self._cut(ids, kept), kept, self.forcing.wait):
                one.num_waits += 1
                return None
        if reason == "stop" and (closing or not opened):
            return whole
        forced = END_OF_THINKING if opened and not closing else ""
        kept = text[len(one.prompt.begun) :]
        if kept.endswith(CUT_CHARACTER) and (forced or not response.ids):
            # What follows does not end it; tokenizers show it once, or once a byte: up to three.
            kept = kept[:-3] + kept[-3:].rstrip(CUT_CHARACTER)
            ids = self._cut(ids, kept)
        return None if self._go_on(one, ids, kept, forced) else whole

    def _so_far(self, one: _Going, response: Generation) -> tuple[tuple[int, ...], str]:
        """Ids behind the prompt, without a stop token, and the text of all of them at once.

        A character may be spread over two stretches, and many tokenizers take the first blank of
        what they decode away. Of a server only texts are known.
        """
        if not response.ids:
            new = self.engine.encode(response.text[len(one.begun) :])
            return (*one.ids, *new), response.text
        stopped = response.finish_reason == "stop"
        ids = (*one.ids, *(response.ids[:-1] if stopped else response.ids))
        return ids, one.prompt.begun + self.engine.decode(ids)

    def _go_on(self, one: _Going, ids: tuple[int, ...], kept: str, forced: str) -> bool:
        """Put a text behind what is kept of a response; false if nothing would fit behind it."""
        if forced:
            ids = (*ids, *self.engine.encode(forced))
        if self._room(one, len(ids)) < 1:
            return False
        one.ids, one.begun = ids, one.prompt.begun + kept + forced
        one.round += 1
        return True

    def _room(self, one: _Going, num_tokens: int) -> int:
        """Tokens that may follow behind so many of a response."""
        room = one.prompt.limit(self.sampling)
        if self.engine.context is not None:
            room = min(room, self.engine.context - len(one.prompt.ids))
        return room - num_tokens

    def _cut(self, ids: tuple[int, ...], kept: str) -> tuple[int, ...]:
        """Ids of the beginning ``kept`` of a response, new ones only for the rest of a token."""

        def is_beyond(count: int) -> bool:
            return not kept.startswith(self.engine.decode(ids[:count]).rstrip(CUT_CHARACTER))

        count = bisect_left(range(len(ids) + 1), True, key=is_beyond) - 1
        while not kept.startswith(self.engine.decode(ids[:count])):
            count -= 1
        rest = kept[len(self.engine.decode(ids[:count])) :]
        return (*ids[:count], *(self.engine.encode(rest) if rest else ()))


def respond(
    engine: Engine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    forcing: BudgetForcing | None,
    limits: Limits,
    on_response: OnResponse,
    on_progress: Callable[[int], None],
) -> list[Generation]:
    """One response per prompt; with forcing, in rounds that go on where the last one stopped.

    A forced response's tokens are all that stand in it, forced ones too, and keep to
    ``max_new_tokens`` and to the student's context. An end of thinking behind which no token would
    fit is not forced: such a response is of finish reason ``length``. A ``wait`` that does not fit
    is left out. Each round draws with a key of its own.

    Args:
        engine: Answers; every rank calls this together.
        prompts: What to answer.
        sampling: How.
        forcing: Rules, if any.
        limits: When to stop.
        on_response: Called with index and response, without its ids, as soon as it is final.
        on_progress: Called with the number of final responses.

    Returns:
        Responses in the order of ``prompts``.
    """
    if forcing is None:

        def tell(index: int, response: Generation) -> None:
            on_response(index, replace(response, ids=()))

        return engine.generate(prompts, sampling, limits, tell, on_progress)
    forced = _Forced(engine, sampling, forcing, on_response, on_progress)
    left = [_Going(index, prompt, prompt.begun) for index, prompt in enumerate(prompts)]
    while engine.any_rank(bool(left)):
        limits = limits.without(forced.round(left, limits))
        left = [one for one in left if one.index not in forced.done]
    return [forced.done[index] for index in range(len(prompts))]
