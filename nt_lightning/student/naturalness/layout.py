"""What is computed for a response: which runs of steps are read, and which tokens are scored.

The question stands once. Behind it every run of steps begins anew: a run sees the question and
itself. A token's local log-probability depends on the step where its run begins, so each run gives
one version of every step in it, and together they give all windows. The run from the first step is
the beginning of the whole response, and is read with it where that is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nt_lightning.errors import UserError

Ints = npt.NDArray[np.int64]
Window = int | float
ALL_OF_FOUR: tuple[Window, ...] = (0, 1, 2, 3, 4)


class ResponseTokens(NamedTuple):
    """One response to score, tokenised once.

    Args:
        id: The trace's.
        prompt: Ids of the question as the student is asked, [q].
        response: Ids of the response, [T].
        step_lengths: Tokens of each step, [p]; they sum up to T.
        step_starts: First character of each step in the scored text, [p], where there is one.
        unscored: Why it is not to be scored at all, if so.
    """

    id: str
    prompt: Ints
    response: Ints
    step_lengths: Ints
    step_starts: Ints | None = None
    unscored: str | None = None


@dataclass(frozen=True)
class ScoreSpec:
    """What is scored.

    Args:
        windows: Steps before a step that it is read with: a whole number of steps, or a share of
            the response's steps between 0 and 1, which is ``ceil(share * p)`` steps (our choice).
        ifd: Also read the response without the question.
        context: Tokens that the student can read at once.
        empty_prompt: Ids in front of the response without its question (our choice: none).

    Raises:
        UserError: A window that is negative, or a share above 1.

    Source: arXiv:2510.03988; four steps in v1, shares in v2.
    """

    windows: tuple[Window, ...] = ALL_OF_FOUR
    ifd: bool = True
    context: int = 2**31
    empty_prompt: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for window in self.windows:
            share = isinstance(window, float)
            if (share and not 0 < window <= 1) or window < 0:
                raise UserError(
                    f"window {window!r} is not allowed; a whole number of steps from 0, or a share "
                    "of the steps above 0.0 and up to 1.0"
                )


def window_name(window: Window) -> str:
    """``4`` or ``25pct``, for the names of scores."""
    return f"{100 * window:g}pct" if isinstance(window, float) else str(window)


def window_steps(window: Window, num_steps: int) -> int:
    """A window in steps, for a response of ``num_steps``; a share is the decimal as written."""
    if isinstance(window, int):
        return window
    return math.ceil(Fraction(str(window)) * num_steps)


class Run(NamedTuple):
    """Response tokens ``[start, end)`` read behind the question, or without it.

    ``scored`` are half-open spans of response tokens up to ``end + 1``: the last one is predicted
    and predicts nothing. ``slots`` says where the log-probability of each span's first token goes
    among the response's values.
    """

    start: int
    end: int
    scored: tuple[tuple[int, int], ...]
    slots: tuple[int, ...]
    ranked: bool = False
    asked: bool = True


class ResponsePlan(NamedTuple):
    """The runs of one response, and where its values lie.

    Values are one vector per response: T of the whole response, T of it without the question where
    that is wanted, then the tokens of every (first step of the run, steps behind it) of ``cells``
    that is not among those of the whole.
    """

    tokens: ResponseTokens
    runs: tuple[Run, ...]
    windows: tuple[int, ...]  # sizes in steps that fit, ascending
    cells: dict[tuple[int, int], int]  # (first step, offset) -> first slot
    num_values: int
    whole: bool
    ifd: bool
    reason: str | None  # why scores are missing

    def num_tokens(self, empty_prompt: int = 0) -> int:
        """Token passes: the question once, every run, and the response without the question."""
        total = sum(run.end - run.start for run in self.runs) + empty_prompt * self.ifd
        return total + (len(self.tokens.prompt) if any(run.asked for run in self.runs) else 0)


def plan_response(tokens: ResponseTokens, spec: ScoreSpec) -> ResponsePlan:
    """The runs that a response's scores need, and a reason where some cannot be had.

    What does not fit into the student's context is left out and the rest is scored: a response
    that is too long as a whole still has its local scores.
    """
    prompt, length, lengths = len(tokens.prompt), len(tokens.response), tokens.step_lengths
    if int(lengths.sum()) != length or (lengths < 1).any():
        raise ValueError(f"steps of {lengths.tolist()} tokens in a response of {length}")
    why = tokens.unscored
    if prompt == 0 or length == 0:
        why = f"the {'prompt' if prompt == 0 else 'response'} has no token"
    if why is not None:
        return ResponsePlan(tokens, (), (), {}, 0, False, False, why)
    wanted = sorted({window_steps(window, len(lengths)) for window in spec.windows})
    borders = np.concatenate([[0], np.cumsum(lengths)])
    windows = tuple(w for w in wanted if prompt + _longest(borders, w) <= spec.context)
    whole = prompt + length <= spec.context
    ifd = spec.ifd and len(spec.empty_prompt) + length <= spec.context and whole
    runs = []
    if whole:
        runs.append(Run(0, length - 1, ((0, length),), (0,), ranked=True))
    if ifd:
        first = 0 if spec.empty_prompt else 1  # nothing predicts the first token then
        runs.append(Run(0, length - 1, ((first, length),), (length + first,), asked=False))
    local, cells, end = _local_runs(borders, windows, length * (whole + ifd), whole)
    reason = _reason(prompt, length, int(lengths.max()), wanted, windows, spec.context)
    return ResponsePlan(tokens, (*runs, *local), windows, cells, end, whole, ifd, reason)


def _local_runs(
    borders: Ints, windows: Sequence[int], slot: int, whole: bool
) -> tuple[list[Run], dict[tuple[int, int], int], int]:
    """Runs from every first step, with the steps in them that some window reads from there."""
    num_steps, runs = len(borders) - 1, []
    cells: dict[tuple[int, int], int] = {}
    for first in range(num_steps if windows else 0):
        offsets: Sequence[int] = windows
        if first == 0:  # here every window begins that would reach beyond the first step
            offsets = range(min(windows[-1] + 1, num_steps))
        if first == 0 and whole:
            cells |= {(0, offset): int(borders[offset]) for offset in offsets}
            continue
        offsets = [offset for offset in offsets if first + offset < num_steps]
        spans, slots = [], []
        for offset in offsets:
            start, end = int(borders[first + offset]), int(borders[first + offset + 1])
            spans.append((start, end))
            slots.append(slot)
            cells[first, offset] = slot
            slot += end - start
        if spans:
            runs.append(Run(int(borders[first]), spans[-1][1] - 1, tuple(spans), tuple(slots)))
    return runs, cells, slot


def _longest(borders: Ints, window: int) -> int:
    """Tokens of the longest window with the step that it stands in front of."""
    ends = np.arange(1, len(borders))
    return int((borders[ends] - borders[np.maximum(0, ends - 1 - window)]).max())


def _reason(
    prompt: int, length: int, step: int, wanted: Sequence[int], fit: Sequence[int], context: int
) -> str | None:
    if prompt + length <= context:
        return None
    if prompt >= context:
        what = f"the question has {prompt} tokens"
    elif wanted and prompt + step > context:
        what = f"the question and the longest step have {prompt + step} tokens"
    elif len(fit) < len(wanted):
        names = ", ".join(str(window) for window in wanted if window not in fit)
        what = f"the question and the longest runs for windows of {names} steps are too long"
    else:
        what = f"question and response have {prompt + length} tokens"
    return f"{what}; the student reads {context}"
