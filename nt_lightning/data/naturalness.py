"""Selections by what the student finds natural: of a response to each question, or of a teacher.

``python -m nt_lightning score`` writes the scores before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.assemble import Wanted
from nt_lightning.data.choice_report import choice_report
from nt_lightning.data.choose import Responses, one_per_question
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.scored import Among, Competing, best_of, competing
from nt_lightning.data.selected import Selected, one_reason, reasons_from
from nt_lightning.data.teacher_report import teacher_report
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.scores import Scores, find_scores

log = logging.getLogger(__name__)
COMPETING, ALLOWED = "competing_responses", "allowed_responses"


class _ByScore(TraceDataModule):
    """A selection that reads the scores of a pool's responses.

    Args:
        score: The score that decides.
        scores: Folder of the scores; ``None``: the ones in the pool.
        among: Which responses compete.
        **rest: Arguments of ``TraceDataModule``.

    Raises:
        UserError: ``among`` is something else.
    """

    selection_columns = (QUESTION_KEY,)

    def __init__(self, *, score: str, scores: str | None, among: Among, **rest: Any) -> None:
        super().__init__(**rest)
        if among not in ("correct", "all"):
            raise UserError(f"data.among is {among!r}; allowed: correct, all")
        self.score, self.scores, self.among = score, scores, among

    @property
    def column_folders(self) -> tuple[str, ...]:
        """The scores in the pool; those in a folder of their own are among the arguments."""
        return ("scores-*",) if self.scores is None else ()

    def require(self, pool: Pool) -> None:
        """Raise UserError where there are no scores, not this one, or no verdicts."""
        pool.require(["correct"] if self.among == "correct" else [])
        find_scores(pool, self.scores).ratio(self.score)

    def _compete(self, pool: Pool, wanted: Wanted, left: Ints) -> Competing:
        scores = find_scores(pool, self.scores)
        return competing(pool, scores, left, wanted.teachers, self.among)

    def _about(self, scores: Scores) -> dict[str, Any]:
        """What the audit tells of the scores."""
        info = {name: scores.info.get(name) for name in ("model_name", "created")}
        return {**info, "folder": str(scores.folder), "among": self.among}


class NaturalnessSelection(_ByScore):
    """To each question the response that the student finds most natural, then questions by chance.

    The audit shows the choice beside others (``response_controls``), so that nobody mistakes the
    choice of a teacher for that of a response. Questions are drawn by chance, the same ones first
    whatever the score (our choice); those without a scored response that may compete are left out.

    Args:
        score: The score whose best response is taken: ``lalp_4`` as in the paper, ``galp`` and so
            on; ties by luck.
        scores: Folder of the scores; ``None``: the pool's own, of which it then has one set.
        among: ``correct``: verified responses compete, as in the paper; ``all``.
        **rest: Arguments of ``TraceDataModule``; ``teachers`` are those whose responses compete.

    Raises:
        UserError: ``among`` is something else.

    Source: Local Naturalness (arXiv:2510.03988).
    """

    def __init__(
        self,
        *,
        score: str = "lalp_4",
        scores: str | None = None,
        among: Among = "correct",
        **rest: Any,
    ) -> None:
        super().__init__(score=score, scores=scores, among=among, **rest)

    def responses(self, pool: Pool, wanted: Wanted, left: Ints) -> Responses:
        """The best response to each question; where none competes, that of the first teacher."""
        found = self._compete(pool, wanted, left)
        scored = found.only(np.flatnonzero(np.isfinite(found.better(self.score))))
        luck = scored.luck(wanted.seed, "response")
        best = scored.rows[best_of(scored.prompts, scored.better(self.score), luck)]
        table = pool.read([QUESTION_KEY, "teacher"])
        keys = pc.dictionary_encode(table[QUESTION_KEY].combine_chunks()).indices.to_numpy()
        rows = one_per_question(table, wanted.teachers, left)
        taken = np.full(keys.max() + 1, -1)
        for part in (rows, best):  # the later one replaces
            taken[keys[part]] = part
        rows = np.sort(taken[taken >= 0])
        counts = [np.bincount(keys[part.rows], minlength=len(taken)) for part in (scored, found)]
        columns = {name: pa.array(one[keys[rows]]) for name, one in
                   zip((COMPETING, ALLOWED), counts, strict=True)}  # fmt: skip
        details = partial(self._details, found, scored, wanted.seed)
        return Responses(rows, pa.table(columns), details)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Questions with a response that competes, uniformly at random."""
        scored, allowed = (columns[name].to_numpy() for name in (COMPETING, ALLOWED))
        rows = np.flatnonzero(scored)
        order = np.argsort(_luck_of_questions(columns, seed)[rows], kind="stable")
        kind = "correct response" if self.among == "correct" else "response"
        reasons = reasons_from(
            [allowed == 0, scored == 0, scored == 1],
            [f"no {kind}", f"no {self.score} of a {kind}", f"the only {kind} with {self.score}"],
            f"best {self.score} of several",
        )
        return Selected(rows[order[:size]], reasons)

    def _details(
        self, found: Competing, scored: Competing, seed: int, rows: Ints
    ) -> dict[str, Any]:
        """The choice for the training questions beside its controls, and warnings."""
        report = choice_report(found, scored, self.score, rows, seed=seed)
        _say(report["warnings"])
        return {"response_choice": {**report, "scores": self._about(found.scores)}}


class TeacherSelection(_ByScore):
    """The teacher whose responses the student finds most natural, then its traces by chance.

    The mean is over the questions that all teachers answer. Once the teacher is chosen, all its
    traces that the filters leave are candidates; ``filters`` keep the correct ones (our choice).

    Args:
        score: The score whose mean decides.
        scores: Folder of the scores; ``None``: the pool's own, of which it then has one set.
        among: Responses that are compared: ``all``, since the paper compares teachers without
            verifying, or ``correct`` (our choice, as the paper's text leaves it open).
        **rest: Arguments of ``TraceDataModule``; ``teachers`` are those to choose from.

    Raises:
        UserError: ``among`` is something else.

    Source: Local Naturalness (arXiv:2510.03988).
    """

    def __init__(
        self,
        *,
        score: str = "lalp_4",
        scores: str | None = None,
        among: Among = "all",
        **rest: Any,
    ) -> None:
        super().__init__(score=score, scores=scores, among=among, **rest)

    def responses(self, pool: Pool, wanted: Wanted, left: Ints) -> Responses:
        """The traces of the best teacher."""
        table = pool.read([QUESTION_KEY, "teacher"])
        one_per_question(table, wanted.teachers, left)  # says which teachers are unknown
        found = self._compete(pool, wanted, left)
        report = teacher_report(found, self.score, seed=wanted.seed)
        report["scores"] = self._about(found.scores)
        rows = one_per_question(table, [report["teacher"]], left)
        log.info("the teacher with the best %s is %r", self.score, report["teacher"])
        _say(report["warnings"])
        return Responses(rows, None, lambda _: {"teacher_choice": report})

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Questions uniformly at random."""
        order = np.argsort(_luck_of_questions(columns, seed), kind="stable")
        return Selected(order[:size], one_reason(columns.num_rows, "by chance"))


def _luck_of_questions(columns: pa.Table, seed: int) -> Any:
    """A uniform number of each question, whichever response to it is a candidate."""
    return uniform_from_ids(columns[QUESTION_KEY], seed, "selection")


def _say(warnings: Sequence[Mapping[str, str]]) -> None:
    for warning in warnings:
        log.warning(warning["text"])
