"""Selections of the paper, one data module each."""

from __future__ import annotations

import pyarrow as pa

from nt_lightning.data.choose import random_rows
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.plan import Ints


class RandomSelection(TraceDataModule):
    """Uniform over the pool: the strong baseline that every other selection has to beat.

    With one seed a larger selection contains every smaller one (our choice).

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    def select(self, columns: pa.Table, size: int, seed: int) -> Ints:
        """``size`` rows uniformly at random, by id."""
        return random_rows(columns["id"], size, seed)
