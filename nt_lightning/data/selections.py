"""Selections of the paper by a trace's own columns, one data module each.

All are nested: with one seed a larger selection contains every smaller one (our choice).
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.draws import Floats, even_over_groups, first_by, thinned, weighted
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.selected import Reasons, Selected, groups_of, one_reason, reasons_from
from nt_lightning.errors import UserError

log = logging.getLogger(__name__)


class RandomSelection(TraceDataModule):
    """Uniform over the pool: the strong baseline that every other selection has to beat.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Rows uniformly at random, by id."""
        order = np.argsort(luck_of(columns, seed), kind="stable")
        return Selected(order[:size], one_reason(columns.num_rows, "by chance"))


class TopicSelection(TraceDataModule):
    """Uniform over domains: every discipline gives the same number of traces.

    A domain with too few traces gives all it has and the rest is spread over the others; traces
    without a domain are left out (both our choice).

    Source: NaturalThoughts (arXiv:2507.01921), section 2: 12 domains, about 850 traces of each.
    """

    selection_columns = ("domain",)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """The same number of rows of each domain, at random within it."""
        reasons = groups_of(columns["domain"], "no domain")
        rows = np.flatnonzero(reasons.codes < len(reasons.names) - 1)
        order = even_over_groups(reasons.codes[rows], luck_of(columns, seed)[rows])
        return Selected(rows[order[:size]], reasons)


class LongSelection(TraceDataModule):
    """Long reasoning first: a trace of l tokens is kept in proportion to min(1, (l / 5000)^2.5).

    Without a size each trace is kept with that probability, as in the paper; a size or a number
    of tokens makes it a weighted draw without replacement (our choice, as is the upper limit 1).

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("response_tokens",)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """A weighted draw by ``response_tokens``."""
        rows, tokens = _filled(columns["response_tokens"])
        weights = np.clip((tokens / 5000) ** 2.5, 1e-12, 1.0)
        luck = luck_of(columns, seed)[rows]
        order = thinned(weights, luck) if size is None else weighted(weights, luck)[:size]
        edges = (1000, 2000, 3000, 4000, 5000)
        known = np.full(columns.num_rows, np.inf)
        known[rows] = tokens
        reasons = reasons_from(
            [known < edge for edge in edges] + [known < np.inf],
            [f"under {edge:,} tokens" for edge in edges] + ["5,000 tokens and more"],
            "no response_tokens",
        )
        return Selected(rows[order], reasons)


class VerbositySelection(TraceDataModule):
    """By the annotator's verbosity score, 0 (efficient) to 10 (rambling).

    Args:
        level: ``low`` takes score 0, then 1, ...; ``high`` takes 10, then 9, ...; ``medium`` takes
            5, then 4 and 6 together, and so on (the widening is our choice, and is logged).
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("verbosity",)

    def __init__(self, *, level: Literal["low", "medium", "high"] = "low", **rest: Any) -> None:
        super().__init__(**rest)
        self.level = level

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Rows from the level's end of the scale inwards."""
        rows, score = _filled(columns["verbosity"])
        if bad := sorted(set(score[(score < 0) | (score > 10)])):
            raise UserError(f"verbosity is {bad[0]:.0f} in a trace; allowed: 0 to 10")
        distance = {"low": score, "medium": np.abs(score - 5), "high": 10 - score}[self.level]
        order = first_by(distance, luck_of(columns, seed)[rows])[:size]
        if self.level == "medium" and len(order) and distance[order[-1]] > 0:
            log.warning(
                "medium verbosity: %d traces have score 5, so scores 5 +- %d are taken",
                (distance == 0).sum(),
                distance[order[-1]],
            )
        codes = pc.fill_null(columns["verbosity"], 11).to_numpy()
        names = [f"verbosity {score}" for score in range(11)]
        return Selected(rows[order], Reasons(codes, [*names, "no verbosity"]))


class AgreementSelection(TraceDataModule):
    """Difficulty by disagreement: traces on whose answer two models disagree, or agree.

    Args:
        agree: Keep the side that agrees instead; its traces are the easy ones.
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2; uniform within the side.
    """

    selection_columns = ("models_agree",)

    def __init__(self, *, agree: bool = False, **rest: Any) -> None:
        super().__init__(**rest)
        self.agree = agree

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Rows of one side uniformly at random, by id."""
        verdict = columns["models_agree"]
        agree, unknown = pc.fill_null(verdict, False).to_numpy(), verdict.is_null().to_numpy()
        rows = np.flatnonzero((agree == self.agree) & ~unknown)
        order = np.argsort(luck_of(columns, seed)[rows], kind="stable")
        reasons = reasons_from(
            [unknown, agree], ["no models_agree", "models agree"], "models disagree"
        )
        return Selected(rows[order[:size]], reasons)


class ShortReferenceSelection(TraceDataModule):
    """Easy to verify: traces whose question has a short reference answer, fewest words first.

    How short is short the paper leaves open; the order, and leaving out empty answers, are our
    choice. There it helped on mathematics alone.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("reference_answer",)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """The shortest references, ties by id."""
        texts = pc.utf8_trim_whitespace(pc.fill_null(columns["reference_answer"], ""))
        pieces = pc.list_value_length(pc.utf8_split_whitespace(texts)).to_numpy()
        words = np.where(pc.equal(texts, "").to_numpy(), 0, pieces)
        rows = np.flatnonzero(words)
        order = first_by(words[rows], luck_of(columns, seed)[rows])
        reasons = reasons_from(
            [words == 0, words == 1, words <= 5, words <= 20],
            ["no reference_answer", "1 word", "2 to 5 words", "6 to 20 words"],
            "over 20 words",
        )
        return Selected(rows[order[:size]], reasons)


def luck_of(columns: pa.Table, seed: int) -> Floats:
    """The uniform number of each candidate that all selections draw by, [N]."""
    return uniform_from_ids(columns["id"], seed, "selection")


def _filled(column: pa.ChunkedArray) -> tuple[Ints, Floats]:
    """Rows that are not null, and their numbers."""
    rows = np.flatnonzero(column.is_valid().to_numpy())
    return rows, column.drop_null().to_numpy().astype(np.float64)
