"""Mixing of System-1 and System-2: which trace is shown with its reasoning, and in which mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.errors import UserError
from nt_lightning.traces.modes import MODE_NAMES

System2Rule = Literal["all", "none", "random", "difficulty"]
NO_THINK_CODE, ADAPTIVE_CODE, THINK_CODE = range(len(MODE_NAMES))


@dataclass(frozen=True)
class Mixing:
    """Which examples are System-2 (reasoning and answer) and which System-1 (answer only).

    Args:
        system2: ``all``: every example; ``none``: none; ``random``: each with probability
            ``system2_share``; ``difficulty``: if and only if the models disagree.
        system2_share: Probability of System-2 under ``random``; the paper has 0.2, 0.4, 0.6. It
            means nothing under the others, so that ``system2`` alone can be overridden.
        adaptive_share: Share of the System-2 examples with the Adaptive instead of the Think
            text; half is our choice (the paper does not say what it trained with).

    Source: NaturalThoughts (arXiv:2507.01921), section 3, Table 4.
    """

    system2: System2Rule = "all"
    system2_share: float | None = None
    adaptive_share: float = 0.5

    def __post_init__(self) -> None:
        if self.system2 not in ("all", "none", "random", "difficulty"):
            raise UserError(
                f"mixing.system2 is {self.system2!r}; allowed: all, none, random, difficulty"
            )
        if self.system2 != "random":
            object.__setattr__(self, "system2_share", None)
        elif self.system2_share is None:
            raise UserError("mixing.system2_share is None with system2 'random'; allowed: 0 to 1")
        for name in ("system2_share", "adaptive_share"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"mixing.{name} is {value}; allowed: 0 to 1")

    @property
    def columns(self) -> tuple[str, ...]:
        """Pool columns that the rule reads besides ``id``."""
        return ("models_agree",) if self.system2 == "difficulty" else ()

    def mode_codes(self, table: pa.Table, seed: int) -> npt.NDArray[np.int8]:
        """The mode of every trace, as an index into ``MODE_NAMES``.

        Args:
            table: Traces with ``id`` and the columns of ``columns``, [N].
            seed: The run's seed; the outcome for one id depends on nothing else.

        Returns:
            int8 [N]: ``no_think`` for System-1, ``adaptive`` or ``think`` for System-2.

        Raises:
            UserError: ``difficulty`` without ``models_agree`` in every row.
        """
        system2 = self._is_system2(table, seed)
        adaptive = uniform_from_ids(table["id"], seed, "adaptive") < self.adaptive_share
        codes = np.where(adaptive, ADAPTIVE_CODE, THINK_CODE)
        return np.where(system2, codes, NO_THINK_CODE).astype(np.int8)

    def _is_system2(self, table: pa.Table, seed: int) -> npt.NDArray[np.bool_]:
        if self.system2 == "difficulty":
            if "models_agree" not in table.column_names:
                raise UserError(
                    "mixing by difficulty needs the column 'models_agree', which the pool lacks; "
                    "a judge of two teachers' answers writes it"
                )
            unknown = table["models_agree"].null_count
            if unknown:
                first = table["id"][pc.index(pc.is_null(table["models_agree"]), True).as_py()]
                raise UserError(
                    f"mixing by difficulty: models_agree is null in {unknown} of "
                    f"{table.num_rows} traces, first {first}"
                )
            return ~table["models_agree"].to_numpy()
        if self.system2 == "random":
            assert self.system2_share is not None
            return uniform_from_ids(table["id"], seed, "mixing") < self.system2_share
        return np.full(table.num_rows, self.system2 == "all")
