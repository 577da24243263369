"""A teacher's raw response to reasoning and answer, in the notations that teachers use."""

from __future__ import annotations

import re
from typing import NamedTuple

from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN

UNCLOSED = "thinking is never closed"
UNENDED = "the answer has no end"
UNCLEAR = "reasoning and answer cannot be told apart"


class Notation(NamedTuple):
    """How a family of teachers marks its reasoning.

    Args:
        open: Begins the reasoning.
        close: Ends it.
        lead: Begins the answer.
        ends: What may end the answer.
        must_end: Whether an answer without an end was cut off.
    """

    open: str
    close: str
    lead: str = ""
    ends: tuple[str, ...] = ()
    must_end: bool = False


_HARMONY_START, _HARMONY_FINAL = "<|start|>assistant", "<|channel|>final<|message|>"
HARMONY = Notation(  # gpt-oss
    "<|channel|>analysis<|message|>",
    f"<|end|>{_HARMONY_START}{_HARMONY_FINAL}",
    ends=("<|return|>", "<|end|>"),
)
NOTATIONS = (
    Notation(THINK_OPEN, THINK_CLOSE),  # DeepSeek-R1, QwQ, Qwen3
    Notation("[THINK]", "[/THINK]"),  # Magistral
    Notation("◁think▷", "◁/think▷"),  # Kimi
    Notation("<seed:think>", "</seed:think>"),  # Seed-OSS
    Notation(  # OpenThoughts, Sky-T1
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        "<|begin_of_solution|>",
        ("<|end_of_solution|>",),
        must_end=True,
    ),
    HARMONY,
)
# Other spellings of the first notation are known where a response begins with one (our choice):
# further in, they may be what the question is about.
_SPELLING = re.compile("<(think|thinking)>", re.IGNORECASE)
# s1 writes the two words as lines, since its tags are the chat template's own special tokens.
_S1_OPEN = re.compile(r"think[ \t]*\r?\n")
_S1_CLOSE = re.compile(r"^answer[ \t]*\r?$", re.MULTILINE)


class SplitError(ValueError):
    """Why a response has no reasoning and answer that can be told apart.

    Args:
        reason: ``UNCLOSED``, ``UNENDED`` or ``UNCLEAR``.
        detail: What is wrong with this response.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def split_response(response: str) -> tuple[str, str]:
    """Reasoning and answer of a response; without a think block it is all answer.

    A missing opening tag is allowed (teachers whose template prefills it leave it out). s1's
    answer begins behind the last line ``answer`` (our choice: a line of its reasoning may say
    the same).

    Returns:
        Both without their tags and without blanks around them; reasoning may be empty.

    Raises:
        SplitError: The block is opened and never closed, stands twice or behind other text, or
            the answer breaks off.
    """
    response = _normalised(response)
    if notation := _notation_of(response):
        return _split(response, notation)
    if begin := _S1_OPEN.match(response):
        closes = list(_S1_CLOSE.finditer(response, begin.end()))
        if not closes:
            problem = "begins with a line 'think' and has no line 'answer' (a cut-off response?)"
            raise SplitError(UNCLOSED, problem)
        reasoning, answer = response[begin.end() : closes[-1].start()], response[closes[-1].end() :]
        return reasoning.strip(), answer.strip()
    return "", response.strip()


def has_think_block(response: str) -> bool:
    """Whether a response marks its reasoning, even if it is empty (Qwen3 told not to think)."""
    response = _normalised(response)
    return bool(_notation_of(response) or _S1_OPEN.match(response))


def _normalised(response: str) -> str:
    """Without blanks in front, and with its tags as the notations have them."""
    response = response.lstrip()
    if (found := _SPELLING.match(response)) and found[0] != THINK_OPEN:
        return re.sub(f"<(/?){found[1]}>", r"<\1think>", response, flags=re.IGNORECASE)
    if response.startswith((f"{_HARMONY_START}{HARMONY.open}", _HARMONY_START + _HARMONY_FINAL)):
        response = response.removeprefix(_HARMONY_START)
    if response.startswith(_HARMONY_FINAL):  # no reasoning
        return HARMONY.open + HARMONY.close + response.removeprefix(_HARMONY_FINAL)
    return response


def _notation_of(response: str) -> Notation | None:
    """The notation that a response begins with, or else the first that is found in it."""
    found = [one for one in NOTATIONS if one.open in response or one.close in response]
    return next((one for one in found if response.startswith(one.open)), next(iter(found), None))


def _split(response: str, notation: Notation) -> tuple[str, str]:
    if notation.close not in response:
        raise SplitError(UNCLOSED, f"{notation.open} is never closed (a cut-off response?)")
    if response.count(notation.close) > 1 or response.count(notation.open) > 1:
        raise SplitError(UNCLEAR, "there is more than one think block")
    head, _, answer = response.partition(notation.close)
    before, _, reasoning = head.rpartition(notation.open)
    if before.strip():
        raise SplitError(UNCLEAR, f"there is text in front of {notation.open}")
    if notation.open in answer:
        raise SplitError(UNCLEAR, f"{notation.open} stands behind {notation.close}")
    answer = answer.strip().removeprefix(notation.lead)
    end = next((one for one in notation.ends if answer.endswith(one)), "")
    if notation.must_end and not end:
        needed = " or ".join(notation.ends)
        raise SplitError(UNENDED, f"the answer does not end in {needed} (a cut-off response?)")
    return reasoning.strip(), answer.removesuffix(end).strip()
