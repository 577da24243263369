"""A choice of responses beside other choices for the same questions.

So that nobody mistakes the choice of a teacher for the choice of a response: local naturalness
raised one teacher's share from 7 to 36 % where it was published (arXiv:2510.03988).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nt_lightning.data.draws import Floats
from nt_lightning.data.plan import Ints
from nt_lightning.data.scored import best_of
from nt_lightning.data.teacher_ranking import grid_of
from nt_lightning.traces.scores import Ratio

SWEEPS = 50
DIGITS = 6


class Candidates(NamedTuple):
    """Responses among which one is chosen for each question, N of them.

    Args:
        prompts: Number of each one's question, [N].
        teachers: Number of each one's teacher, [N].
        names: Teachers, [K].
        ratio: The score that decides, higher is better, without NaN, [N].
        tokens: Scored tokens of each, [N].
        step_tokens: Mean tokens per step of each, [N].
        luck: Uniform numbers, [N]; they break ties and are the random choice.
    """

    prompts: Ints
    teachers: Ints
    names: list[str]
    ratio: Ratio
    tokens: Floats
    step_tokens: Floats
    luck: Floats

    @property
    def better(self) -> Floats:
        """The score of each, [N]."""
        return self.ratio.numerator / self.ratio.denominator


def response_controls(found: Candidates, chosen: Ints, sign: int = 1) -> dict[str, Any]:
    """A selection and its controls, as plain JSON.

    The controls choose for the same questions among the same responses: ``stratified`` by the
    score with each teacher's share held, ``random``, ``longest``, ``shortest``, and ``best
    teacher``, a response by chance of the teacher with the highest mean score (over the questions
    that all teachers answer, if there are any), for the questions that it answers.

    Args:
        found: All that competes for the questions.
        chosen: Places of the selection's choice, one a question.
        sign: -1 where the score is shown with the other sign.

    Returns:
        ``controls``: name, number of questions, share of each teacher, mean score (for RSR the
        ratio of the sums), mean tokens, mean tokens per step, share of the questions with the
        selection's response. ``gain``: the selection's mean score minus that of random
        choice, and how much of it is left when the teachers' shares are held.
    """
    answers = {
        "selection": chosen,
        "stratified": stratified(found),
        "random": best_of(found.prompts, found.luck, found.luck),
        "longest": best_of(found.prompts, found.tokens, found.luck),
        "shortest": best_of(found.prompts, -found.tokens, found.luck),
    }
    best = best_teacher(found)
    own = np.flatnonzero(found.teachers == best)
    name = f"best teacher: {found.names[best]}"
    answers[name] = own[best_of(found.prompts[own], found.luck[own], found.luck[own])]
    controls = [_control(found, name, places, chosen, sign) for name, places in answers.items()]
    total, held = (sign * (one["mean_score"] - controls[2]["mean_score"]) for one in controls[:2])
    gain = {"total": round(total, DIGITS), "with_shares_held": round(held, DIGITS)}
    return {"controls": controls, "gain": gain}


def stratified(found: Candidates) -> Ints:
    """The choice by score with each teacher's share held at its share of a random choice.

    A teacher's share is expected from a choice by chance. Among all choices with these shares it is
    the one with the highest total score: each teacher's scores get a constant, found teacher by
    teacher until the shares are met (but for ties and a question or so; the table shows them).
    Taking off each teacher's mean would not do: one whose scores spread more would still be taken
    more often. Our choice; the papers have none.

    Returns:
        A place for each question, [P].
    """
    better = found.better
    prompts = np.unique(found.prompts, return_inverse=True)[1]
    sizes = np.bincount(prompts)
    count = len(found.names)
    wanted = _whole(np.bincount(found.teachers, 1 / sizes[prompts], count).astype(np.float64))
    grid = np.full((len(sizes), count), -np.inf)
    np.maximum.at(grid, (prompts, found.teachers), better)
    constants = np.zeros(count)
    for _ in range(SWEEPS):
        if (np.bincount(np.argmax(grid + constants, 1), minlength=count) == wanted).all():
            break
        for teacher in range(count):
            constants[teacher] = _constant(grid, constants, teacher, int(wanted[teacher]))
        constants -= constants.mean()
    return best_of(prompts, better + constants[found.teachers], found.luck)


def _whole(shares: Floats) -> Ints:
    """Whole numbers nearest to shares and with their sum: the largest remainders are rounded up."""
    whole = np.floor(shares + 1e-9).astype(np.int64)
    missing = round(float(shares.sum())) - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:missing]] += 1
    return whole


def _constant(grid: Floats, constants: Floats, teacher: int, wanted: int) -> float:
    """The constant with which a teacher is the best of ``wanted`` questions, others unchanged."""
    others = np.delete(grid + constants, teacher, axis=1).max(1, initial=-np.inf)
    own = grid[:, teacher]
    fought = np.isfinite(own) & np.isfinite(others)
    margins = np.sort(others[fought] - own[fought])
    won = int((np.isfinite(own) & ~np.isfinite(others)).sum())  # nobody else competes
    place = min(max(wanted - won, 0), len(margins))
    if not len(margins):
        return float(constants[teacher])
    edges = np.concatenate([margins[:1] - 1, margins, margins[-1:] + 1])
    return float(edges[place : place + 2].mean())


def best_teacher(found: Candidates) -> int:
    """The teacher with the highest mean score over the questions that all of them answer.

    Over its own questions where none is answered by all (our choice).
    """
    size = int(found.prompts.max()) + 1, len(found.names)
    grid = grid_of(found.ratio, found.prompts, found.teachers, *size)
    there = np.isfinite(grid.numerator)
    common = np.flatnonzero(there[:, there.any(0)].all(1))
    used = common if len(common) else np.arange(size[0])
    top, bottom = (np.where(there, part, 0.0)[used].sum(0) for part in grid)
    return int(np.argmax(np.where(bottom > 0, top / np.maximum(bottom, 1e-300), -np.inf)))


def _control(found: Candidates, name: str, places: Ints, chosen: Ints, sign: int) -> dict[str, Any]:
    """One choice in numbers."""
    shares = np.bincount(found.teachers[places], minlength=len(found.names)) / len(places)
    numerator, denominator = (part[places].sum() for part in found.ratio)
    numbers = {
        "mean_score": sign * numerator / denominator,
        "mean_tokens": found.tokens[places].mean(),
        "tokens_per_step": np.nanmean(found.step_tokens[places]),
        "overlap": np.isin(places, chosen).mean(),
    }
    return {
        "name": name,
        "questions": len(places),
        "teachers": dict(zip(found.names, shares.round(DIGITS).tolist(), strict=True)),
        **{key: round(float(value), DIGITS) for key, value in numbers.items()},
    }
