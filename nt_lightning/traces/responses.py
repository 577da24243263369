"""A teacher's raw response to reasoning and answer, in the notations that teachers use."""

from __future__ import annotations

from typing import NamedTuple

from nt_lightning.traces.modes import THINK_CLOSE, THINK_OPEN


class Notation(NamedTuple):
    """How a family of teachers marks its reasoning; ``lead`` and ``end`` frame its answer."""

    open: str
    close: str
    lead: str = ""
    end: str = ""


NOTATIONS = (
    Notation(THINK_OPEN, THINK_CLOSE),  # DeepSeek-R1, QwQ, Qwen3
    Notation("[THINK]", "[/THINK]"),  # Magistral
    Notation("◁think▷", "◁/think▷"),  # Kimi
    Notation("<seed:think>", "</seed:think>"),  # Seed-OSS
    Notation(  # OpenThoughts, Sky-T1
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        "<|begin_of_solution|>",
        "<|end_of_solution|>",
    ),
    Notation(  # gpt-oss (harmony)
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        end="<|return|>",
    ),
)
# s1 writes the two words as lines, since its tags are the chat template's own special tokens.
_S1_OPEN, _S1_CLOSE = "think\n", "\nanswer\n"


class CutOffError(ValueError):
    """A response that begins to think and never comes to an answer."""


def split_response(response: str) -> tuple[str, str]:
    """Reasoning and answer of a response; without a think block it is all answer.

    A missing opening tag is allowed (teachers whose template prefills it leave it out).

    Returns:
        Both without their tags and without blanks around them; reasoning may be empty.

    Raises:
        CutOffError: The block is opened and never closed.
        ValueError: The block stands twice or behind other text.
    """
    for notation in NOTATIONS:
        if notation.open in response or notation.close in response:
            return _split(response, notation)
    if response.startswith(_S1_OPEN):
        if (count := response.count(_S1_CLOSE)) != 1:
            problem = f"begins with a line 'think' and has {count} lines 'answer', needs one"
            if count == 0:
                raise CutOffError(f"{problem} (a cut-off response?)")
            raise ValueError(problem)
        reasoning, _, answer = response.removeprefix(_S1_OPEN).partition(_S1_CLOSE)
        return reasoning.strip(), answer.strip()
    return "", response.strip()


def has_think_block(response: str) -> bool:
    """Whether a response marks its reasoning, even if it is empty (Qwen3 told not to think)."""
    return response.startswith(_S1_OPEN) or any(
        notation.open in response or notation.close in response for notation in NOTATIONS
    )


def _split(response: str, notation: Notation) -> tuple[str, str]:
    if notation.close not in response:
        raise CutOffError(f"{notation.open} is never closed (a cut-off response?)")
    if response.count(notation.close) > 1 or response.count(notation.open) > 1:
        raise ValueError("there is more than one think block")
    head, _, answer = response.partition(notation.close)
    before, _, reasoning = head.rpartition(notation.open)
    if before.strip():
        raise ValueError(f"there is text in front of {notation.open}")
    if notation.open in answer:
        raise ValueError(f"{notation.open} stands behind {notation.close}")
    answer = answer.strip().removeprefix(notation.lead).removesuffix(notation.end)
    return reasoning.strip(), answer.strip()
