"""How much a run trains on: a number of traces or of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nt_lightning.data.plan import Ints
from nt_lightning.data.selected import Selected
from nt_lightning.errors import UserError

TOKENS = "response_tokens"


@dataclass(frozen=True)
class Budget:
    """Traces or tokens to train on; with neither, what the selection's rule keeps.

    Args:
        num_traces: Number of traces.
        num_tokens: Tokens of their responses as the teacher wrote them (``response_tokens``), at
            most; selections of one number cost about the same (our choice of the unit).

    Raises:
        UserError: Both are given, or one is below 1.
    """

    num_traces: int | None = None
    num_tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise UserError(f"data.{name} is {value}; allowed: 1 and more")
        if self.num_traces is not None and self.num_tokens is not None:
            raise UserError(
                f"data.num_traces is {self.num_traces} and data.num_tokens {self.num_tokens}; "
                "allowed: one of them"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Pool columns that the budget is counted in."""
        return (TOKENS,) if self.num_tokens is not None else ()

    def ask(self, select: Callable[[int | None], Selected], table: pa.Table) -> Selected:
        """What a selection answers when it is asked for as many candidates as the budget needs.

        A budget in tokens asks for as many as it would need on average, and for twice as many
        until they are enough.

        Args:
            select: Takes a size.
            table: All candidates.

        Raises:
            UserError: Their tokens are unknown.
        """
        if self.num_tokens is None:
            return select(self.num_traces)
        if unknown := table[TOKENS].null_count:
            raise UserError(f"num_tokens: {TOKENS} is null in {unknown} of {len(table)} candidates")
        tokens = table[TOKENS].to_numpy()
        size = 16 + int(1.5 * self.num_tokens / max(tokens.mean(), 1))
        while True:
            selected = select(min(size, len(table)))
            enough = tokens[selected.rows].sum() >= self.num_tokens
            if enough or len(selected.rows) < size:
                return selected
            size *= 2

    def fill(self, selected: Selected, table: pa.Table) -> Ints:
        """The first rows that fill the budget.

        Args:
            selected: What the selection answered.
            table: All candidates.

        Raises:
            UserError: They do not fill it, or the first trace exceeds it.
        """
        rows, total = selected.rows, len(table)
        if not len(rows):
            raise UserError(
                f"the selection takes none of {total} candidates{selected.left_out(total)}"
            )
        taken = f"all {total}" if len(rows) == total else f"the {len(rows)} of {total}"
        taken += f" candidates that the selection takes{selected.left_out(total)}"
        if self.num_tokens is None:
            if len(rows) < (self.num_traces or 1):
                raise UserError(
                    f"num_traces is {self.num_traces}; allowed: at most {len(rows)}, {taken}"
                )
            return rows[: self.num_traces]
        spent = np.cumsum([0, *table[TOKENS].to_numpy()[rows]])
        if spent[-1] < self.num_tokens:
            raise UserError(
                f"num_tokens is {self.num_tokens}; allowed: at most {spent[-1]}, those of {taken}"
            )
        filled = rows[: np.searchsorted(spent, self.num_tokens, side="right") - 1]
        if not len(filled):
            raise UserError(
                f"num_tokens is {self.num_tokens}; allowed: at least {spent[1]}, those of the "
                "first trace"
            )
        return filled
