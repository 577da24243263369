"""The selection by reasoning strategies."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.draws import thinned, weighted
from nt_lightning.data.lists import num_different
from nt_lightning.data.selected import Selected, reasons_from
from nt_lightning.data.selections import luck_of
from nt_lightning.errors import UserError

log = logging.getLogger(__name__)
RARE, COMMON = 0.05, 0.95  # shares of a pool outside which a rule hardly selects


class StrategySelection(TraceDataModule):
    """Diverse reasoning: traces with few, very many or thinly spread strategies are down-sampled.

    A trace keeps the weight 1 unless it has at most ``min_strategies`` or more than
    ``max_strategies`` different strategies, or a low density (different strategies / reasoning
    steps): each of these multiplies its weight by ``down_weight``. Then a weighted draw without
    replacement; without a size each trace is kept with its weight as probability. The two bounds
    are the paper's; density's threshold, the weight and the draw are our choice. A rule that hits
    nearly none or nearly all of the pool is logged.

    Args:
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
        *,
        min_strategies: int = 4,
        max_strategies: int = 8,
        low_density: float = 0.25,
        down_weight: float = 0.1,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        if not 0 < down_weight <= 1:
            raise UserError(f"data.down_weight is {down_weight}; allowed: above 0, up to 1")
        if not 0 <= low_density < 1:
            raise UserError(f"data.low_density is {low_density}; allowed: 0 and more, below 1")
        if not 0 <= min_strategies < max_strategies:
            raise UserError(
                f"data.min_strategies is {min_strategies}; allowed: 0 and more, below "
                f"max_strategies ({max_strategies})"
            )
        self.min_strategies, self.max_strategies = min_strategies, max_strategies
        self.low_density, self.down_weight = low_density, down_weight

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """A weighted draw by ``reasoning_strategies`` and ``num_steps``."""
        known = columns["reasoning_strategies"].is_valid().to_numpy()
        number = num_different(columns["reasoning_strategies"])
        steps = pc.fill_null(pc.cast(columns["num_steps"], pa.float64()), np.nan).to_numpy()
        density = np.where(known, number / np.maximum(steps, 1), np.nan)  # NaN: steps unknown
        is_dense = bool(np.isfinite(density).any())
        threshold = np.nanquantile(density, self.low_density) if is_dense else 0.0
        if not is_dense:
            log.warning("num_steps is null in all traces: nothing is known of their density")
        hits = {
            f"at most {self.min_strategies} strategies": number <= self.min_strategies,
            f"more than {self.max_strategies} strategies": number > self.max_strategies,
            "low density": density < threshold,
        }
        weights = np.ones(columns.num_rows)
        for name, hit in hits.items():
            weights[hit] *= self.down_weight
            share = hit[known].mean() if known.any() else 0.0
            if not RARE <= share <= COMMON:
                log.warning("%s: %.1f %% of the candidates", name, 100 * share)
        rows = np.flatnonzero(known)
        luck = luck_of(columns, seed)[rows]
        draw = thinned(weights[rows], luck) if size is None else weighted(weights[rows], luck)
        few, many, thin = hits.values()
        first, second, third = hits
        reasons = reasons_from(
            [~known, few & thin, many & thin, few, many, thin],
            ["no reasoning_strategies", f"{first}, {third}", f"{second}, {third}", *hits],
            "diverse",
        )
        return Selected(rows[draw[:size]], reasons)
