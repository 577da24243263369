"""Budget forcing: thinking that is ended at a cap, or sent back to think on.

Source: Muennighoff et al., s1: Simple test-time scaling (arXiv:2501.19393), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Engine, Limits, OnResponse, Prompt, Sampling
from nt_lightning.evaluation.generation import Generation
from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

END_OF_THINKING = f"\n{THINK_CLOSE}\n\n"  # as in training (``formatting.response_text``)


@dataclass(frozen=True)
class BudgetForcing:
    """How long the student thinks, whatever it would do; No-Think is left alone.

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
    """A response under way: what it is so far is the prompt's ``begun``."""

    index: int
    prompt: Prompt
    key: str
    num_tokens: int = 0
    num_waits: int = 0
    round: int = 0

    @property
    def is_thinking(self) -> bool:
        """Whether a think block is open, or has just been asked for."""
        return self.prompt.begun.rfind(THINK_OPEN) > self.prompt.begun.rfind(THINK_CLOSE)


class _Forced:
    """A call's responses and the rules about their thinking."""

    def __init__(self, engine: Engine, sampling: Sampling, forcing: BudgetForcing) -> None:
        self.engine, self.sampling, self.forcing = engine, sampling, forcing

    def stretch(self, one: _Going) -> Prompt:
        """The prompt of a response's next stretch: to the cap of its thinking, or to its end."""
        room = self.sampling.max_new_tokens - one.num_tokens
        cap = self.forcing.max_thinking_tokens
        if cap is not None and (one.is_thinking or not one.round):  # Adaptive may open a block
            room = min(room, max(1, cap - one.num_tokens))
        key = f"{one.key}/{one.round}" if one.round else one.key
        return one.prompt._replace(key=key, max_new_tokens=room)

    def follow(self, one: _Going, response: Generation) -> Generation | _Going:
        """The final response, or the same response ready for its next stretch."""
        one.num_tokens += response.num_tokens
        whole = replace(response, num_tokens=one.num_tokens)
        if response.finish_reason in ("time", "loop"):
            return whole
        full = one.num_tokens >= self.sampling.max_new_tokens
        opened = THINK_OPEN in response.text
        thinking, closing, _ = response.text.partition(THINK_CLOSE)
        is_forced_close = THINK_CLOSE in one.prompt.begun
        may_wait = opened and not is_forced_close and one.num_waits < self.forcing.num_waits
        if may_wait and not full and (closing or response.finish_reason == "stop"):
            return self._go_on(one, self._cut(one, response, thinking), self.forcing.wait)
        if response.finish_reason == "stop" or full:
            return whole
        is_open = opened and not closing
        return self._go_on(one, response, END_OF_THINKING if is_open else "")

    def _cut(self, one: _Going, response: Generation, thinking: str) -> Generation:
        """The response up to its end of thinking, without the blanks in front of it."""
        body = thinking.rstrip()[len(one.prompt.begun) :]
        ids = tuple(self.engine.encode(body))
        one.num_tokens += len(ids) - response.num_tokens
        return replace(response, text=one.prompt.begun + body, ids=ids)

    def _go_on(self, one: _Going, response: Generation, text: str) -> _Going:
        one.num_waits += text == self.forcing.wait
        one.num_tokens += len(self.engine.encode(text)) if text else 0
        one.prompt = self.engine.extended(one.prompt, response, text)
        one.round += 1
        return one


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
    ``max_new_tokens`` but for a forced text at its end. Each round draws with a key of its own.

    Args:
        engine: Answers; every rank calls this together.
        prompts: What to answer.
        sampling: How.
        forcing: Rules, if any.
        limits: When to stop.
        on_response: Called with index and response as soon as it is final.
        on_progress: Called with the number of final responses.

    Returns:
        Responses in the order of ``prompts``.
    """
    if forcing is None:
        return engine.generate(prompts, sampling, limits, on_response, on_progress)
    forced = _Forced(engine, sampling, forcing)
    done: dict[int, Generation] = {}
    left = [_Going(index, prompt, prompt.key) for index, prompt in enumerate(prompts)]
    while engine.any_rank(bool(left)):
        stretches = [forced.stretch(one) for one in left]
        responses = engine.generate(stretches, sampling, limits, lambda *_: None, lambda _: None)
        limits = limits.without(sum(response.num_tokens for response in responses))
        going_on = []
        for one, response in zip(left, responses, strict=True):
            following = forced.follow(one, response)
            if isinstance(following, _Going):
                going_on.append(following)
            else:
                done[one.index] = following
                on_response(one.index, following)
        left = going_on
        on_progress(len(done))
    return [done[index] for index in range(len(prompts))]
