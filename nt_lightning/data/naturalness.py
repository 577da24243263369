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

from nt_lightning.data.assemble import Wanted, seed_of_choice
from nt_lightning.data.choice_report import choice_report
from nt_lightning.data.choose import Responses, one_per_question, validation_rows
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.score_warnings import another_student
from nt_lightning.data.scored import Among, Competing, best_of, competing
from nt_lightning.data.selected import Selected, one_reason, reasons_from
from nt_lightning.data.teacher_report import teacher_report
from nt_lightning.errors import UserError
from nt_lightning.models import folder_fingerprint
from nt_lightning.traces.pool import QUESTION_KEY, Pool
from nt_lightning.traces.scores import Scores, find_scores

log = logging.getLogger(__name__)
COMPETING, ALLOWED = "competing_responses", "allowed_responses"


class _ByScore(TraceDataModule):
    """A selection that reads the scores of a pool's responses.

    Args:
        score: The score that decides.
        scores: Folder of the scores, whoever's they are; ``None``: the student's in the pool.
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
        self._find(pool).ratio(self.score)

    @property
    def depends_on(self) -> list[str | None]:
        """The student and its weights, whose scores are taken where the pool has several."""
        return [self.model_name, folder_fingerprint(self.model_name)]

    def _find(self, pool: Pool) -> Scores:
        return find_scores(pool, self.scores, self.model_name)

    def _compete(self, pool: Pool, wanted: Wanted, left: Ints) -> Competing:
        return competing(pool, self._find(pool), left, wanted.teachers, self.among)

    def _told(self, report: Mapping[str, Any], scores: Scores) -> dict[str, Any]:
        """A report with what the scores are, and a warning where they are not the student's."""
        names = ("model_name", "model_fingerprint", "created")
        info = {name: scores.info.get(name) for name in names}
        about = {**info, "folder": str(scores.folder), "among": self.among}
        found = another_student(scores.info, self.model_name)
        warnings = [*(one._asdict() for one in found), *report["warnings"]]
        _say(warnings)
        return {**report, "warnings": warnings, "scores": about}


class NaturalnessSelection(_ByScore):
    """To each question the response that the student finds most natural, then questions by chance.

    The audit shows the choice beside others (``response_controls``), so that nobody mistakes the
    choice of a teacher for that of a response. Questions are drawn by chance, the same ones first
    whatever the score (our choice); those without a scored response that may compete are left out.
    Questions for validation keep the response of the first teacher in order, as other selections
    have it, so that losses can be compared (our choice).

    Args:
        score: The score whose best response is taken: ``lalp_4`` as in the paper, ``galp`` and so
            on; ties by luck.
        scores: Folder of the scores, whoever's they are; ``None``: the student's own in the pool,
            which then has one set of them.
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
        val = rows[_validation(table, rows, wanted.num_val, seed_of_choice(pool, wanted))]
        best = best[~np.isin(keys[best], keys[val])]
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
        return {"response_choice": self._told(report, found.scores)}


class TeacherSelection(_ByScore):
    """The teacher whose responses the student finds most natural, then its traces by chance.

    The mean is over the questions that all teachers answer. Once the teacher is chosen, all its
    traces that the filters leave are candidates; ``filters`` keep the correct ones (our choice).
    A question that would be kept for validation with any of the teachers is not among those by
    which they are compared (our choice).

    Args:
        score: The score whose mean decides.
        scores: Folder of the scores, whoever's they are; ``None``: the student's own in the pool,
            which then has one set of them.
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
        if wanted.num_val:
            found = self._without_validation(
                found, table, left, wanted, seed_of_choice(pool, wanted)
            )
        report = teacher_report(found, self.score, seed=wanted.seed)
        report = self._told(report, found.scores)
        rows = one_per_question(table, [report["teacher"]], left)
        log.info("the teacher with the best %s is %r", self.score, report["teacher"])
        return Responses(rows, None, lambda _: {"teacher_choice": report})

    def _without_validation(
        self, found: Competing, table: pa.Table, left: Ints, wanted: Wanted, seed: int
    ) -> Competing:
        """What competes but for questions that are kept for validation with some teacher."""
        held = []
        for name in found.names:
            rows = one_per_question(table, [name], left)
            held.append(rows[_validation(table, rows, wanted.num_val, seed)])
        keys = table[QUESTION_KEY].combine_chunks()
        kept = keys.take(pa.array(np.concatenate(held)))
        is_kept = pc.is_in(keys.take(pa.array(found.rows)), kept).to_numpy(zero_copy_only=False)
        return found.only(np.flatnonzero(~is_kept))

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Questions uniformly at random."""
        order = np.argsort(_luck_of_questions(columns, seed), kind="stable")
        return Selected(order[:size], one_reason(columns.num_rows, "by chance"))


def _validation(table: pa.Table, rows: Ints, num_val: int, seed: int) -> Ints:
    """Places in ``rows``, one a question, of what is kept for validation."""
    return validation_rows(table[QUESTION_KEY].take(pa.array(rows)), num_val, seed)


def _luck_of_questions(columns: pa.Table, seed: int) -> Any:
    """A uniform number of each question, whichever response to it is a candidate."""
    return uniform_from_ids(columns[QUESTION_KEY], seed, "selection")


def _say(warnings: Sequence[Mapping[str, str]]) -> None:
    for warning in warnings:
        log.warning(warning["text"])
