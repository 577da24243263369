"""Selections of the paper by a trace's own columns, one data module each.

All are nested: with one seed a larger selection contains every smaller one (our choice).
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.choose import random_rows
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.draws import Floats, even_over_groups, first_by, weighted
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.errors import UserError

log = logging.getLogger(__name__)
RARE, COMMON = 0.05, 0.95  # shares of a pool outside which a rule hardly selects


class RandomSelection(TraceDataModule):
    """Uniform over the pool: the strong baseline that every other selection has to beat.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """``size`` rows uniformly at random, by id."""
        return random_rows(columns["id"], size, seed)


class TopicSelection(TraceDataModule):
    """Uniform over domains: every discipline gives the same number of traces.

    A domain with too few traces gives all it has and the rest is spread over the others; traces
    without a domain are left out (both our choice).

    Source: NaturalThoughts (arXiv:2507.01921), section 2: 12 domains, about 850 traces of each.
    """

    selection_columns = ("domain",)

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """The same number of rows of each domain, at random within it."""
        rows = _known(columns["domain"], "domain", size)
        names = columns["domain"].take(pa.array(rows)).combine_chunks().dictionary_encode()
        order = np.argsort(np.argsort(names.dictionary.to_pylist()))  # by name, whatever the shards
        groups = order[names.indices.to_numpy()]
        return rows[even_over_groups(groups, _luck(columns, rows, seed), size)]


class LongSelection(TraceDataModule):
    """Long reasoning first: a trace of l tokens is kept in proportion to min(1, (l / 5000)^2.5).

    The paper keeps each trace with that probability; a size makes it a weighted draw without
    replacement (our choice, as is the upper limit of 1).

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("response_tokens",)

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """A weighted draw by ``response_tokens``."""
        rows = _known(columns["response_tokens"], "response_tokens", size)
        tokens = _floats(columns["response_tokens"], rows)
        weights = np.clip((tokens / 5000) ** 2.5, 1e-12, 1.0)
        return rows[weighted(weights, _luck(columns, rows, seed), size)]


class VerbositySelection(TraceDataModule):
    """By the annotator's verbosity score, 0 (efficient) to 10 (rambling).

    Args:
        level: ``low`` takes score 0, then 1, ...; ``high`` takes 10, then 9, ...; ``medium`` takes
            5, then 4 and 6 together, and so on (the widening is our choice).
        pool: See ``TraceDataModule``, as for the other arguments.
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("verbosity",)

    def __init__(
        self, pool: Any, level: Literal["low", "medium", "high"] = "low", **rest: Any
    ) -> None:
        super().__init__(pool, **rest)
        self.level = level

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """Rows from the level's end of the scale inwards."""
        rows = _known(columns["verbosity"], "verbosity", size)
        score = _floats(columns["verbosity"], rows)
        distance = {"low": score, "medium": np.abs(score - 5), "high": 10 - score}[self.level]
        return rows[first_by(distance, _luck(columns, rows, seed), size)]


class StrategySelection(TraceDataModule):
    """Diverse reasoning: traces with few, very many or thinly spread strategies are down-sampled.

    A trace keeps the weight 1 unless it has at most ``min_strategies`` or more than
    ``max_strategies`` different strategies, or a low density (different strategies / reasoning
    steps): each of these multiplies its weight by ``down_weight``. Then a weighted draw without
    replacement. The two bounds are the paper's; density's threshold, the weight and the draw are
    our choice. A rule that hits nearly none or nearly all of the pool is logged.

    Args:
        pool: See ``TraceDataModule``, as for the other arguments.
        min_strategies: R_min.
        max_strategies: R_max.
        low_density: Share of the pool that counts as low density.
        down_weight: Factor for each reason, above 0, up to 1.
        **rest: Arguments of ``TraceDataModule``.

    Raises:
        UserError: An argument is out of its range.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("reasoning_strategies", "num_steps")

    def __init__(
        self,
        pool: Any,
        min_strategies: int = 4,
        max_strategies: int = 8,
        low_density: float = 0.25,
        down_weight: float = 0.1,
        **rest: Any,
    ) -> None:
        super().__init__(pool, **rest)
        if not 0 < down_weight <= 1:
            raise UserError(f"data.down_weight is {down_weight}; allowed: above 0, up to 1")
        if not 0 <= low_density < 1:
            raise UserError(f"data.low_density is {low_density}; allowed: 0 and more, below 1")
        self.min_strategies, self.max_strategies = min_strategies, max_strategies
        self.low_density, self.down_weight = low_density, down_weight

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """A weighted draw by ``reasoning_strategies`` and ``num_steps``."""
        rows = _known(columns["reasoning_strategies"], "reasoning_strategies", size)
        number = _num_different(columns["reasoning_strategies"].take(pa.array(rows)))
        steps = columns["num_steps"].take(pa.array(rows))
        density = number / np.maximum(pc.fill_null(steps, 1).to_numpy(), 1)
        reasons = {
            f"at most {self.min_strategies} strategies": number <= self.min_strategies,
            f"more than {self.max_strategies} strategies": number > self.max_strategies,
            "a low density of strategies": density < np.quantile(density, self.low_density),
        }
        weights = np.ones(len(rows))
        for name, hit in reasons.items():
            weights[hit] *= self.down_weight
            if not RARE <= hit.mean() <= COMMON:
                log.warning("%s: %.1f %% of the candidates", name, 100 * hit.mean())
        return rows[weighted(weights, _luck(columns, rows, seed), size)]


class AgreementSelection(TraceDataModule):
    """Difficulty by disagreement: traces on whose answer two models disagree, or agree.

    Args:
        pool: See ``TraceDataModule``, as for the other arguments.
        agree: Keep the side that agrees instead; its traces are the easy ones.
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2; uniform within the side.
    """

    selection_columns = ("models_agree",)

    def __init__(self, pool: Any, agree: bool = False, **rest: Any) -> None:
        super().__init__(pool, **rest)
        self.agree = agree

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """Rows of one side uniformly at random, by id."""
        side = pc.fill_null(pc.equal(columns["models_agree"], self.agree), False)
        rows = _where(side.to_numpy(), f"models_agree {self.agree}", size)
        return rows[first_by(np.zeros(len(rows)), _luck(columns, rows, seed), size)]


class ShortReferenceSelection(TraceDataModule):
    """Easy to verify: traces whose question has a short reference answer, fewest words first.

    How short is short the paper leaves open; the order, and leaving out empty answers, are our
    choice. There it helped on mathematics alone.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    selection_columns = ("reference_answer",)

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """The shortest references, ties by id."""
        words = pc.list_value_length(
            pc.utf8_split_whitespace(pc.utf8_trim_whitespace(columns["reference_answer"]))
        )
        filled = pc.fill_null(
            pc.not_equal(pc.utf8_trim_whitespace(columns["reference_answer"]), ""), False
        )
        rows = _where(filled.to_numpy(), "a reference_answer", size)
        return rows[first_by(_floats(words, rows), _luck(columns, rows, seed), size)]


def _known(column: pa.ChunkedArray, name: str, size: int) -> Ints:
    return _where(pc.is_valid(column).to_numpy(), f"a {name}", size)


def _where(mask: Any, what: str, size: int) -> Ints:
    """Rows of a mask.

    Raises:
        UserError: They are fewer than ``size``.
    """
    rows = np.flatnonzero(mask)
    if len(rows) < size:
        raise UserError(
            f"num_traces is {size}, but {len(rows)} of {len(mask)} candidates have {what}"
        )
    return rows


def _luck(columns: pa.Table, rows: Ints, seed: int) -> Floats:
    return uniform_from_ids(columns["id"], seed, "selection")[rows]


def _floats(column: pa.ChunkedArray, rows: Ints) -> Floats:
    return column.take(pa.array(rows)).to_numpy().astype(np.float64)


def _num_different(lists: pa.ChunkedArray) -> Ints:
    """Different values in each list."""
    flat = lists.combine_chunks()
    codes = flat.flatten().dictionary_encode().indices.to_numpy().astype(np.int64)
    parents = pc.list_parent_indices(flat).to_numpy().astype(np.int64)
    pairs = np.unique(parents * (codes.max(initial=0) + 1) + codes)
    return np.bincount(pairs // (codes.max(initial=0) + 1), minlength=len(flat))
