"""Selections made of selections: one inside another's result, or several side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from nt_lightning.data.budget import Budget
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.draws import take_turns
from nt_lightning.data.randomness import seed_of_part
from nt_lightning.data.selected import Reasons, Selected
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import take_rows


class _ComposedSelection(TraceDataModule):
    """A selection that asks others.

    Args:
        selections: The parts, at least two, without a pool of their own.
        **rest: Arguments of ``TraceDataModule``.

    Raises:
        UserError: There are fewer than two, one has a pool, or one chooses among the responses to
            a question.
    """

    def __init__(self, *, selections: list[TraceDataModule], **rest: Any) -> None:
        super().__init__(**rest)
        if len(selections) < 2:
            raise UserError(f"data.selections has {len(selections)}; allowed: 2 and more")
        for number, part in enumerate(selections):
            if part.pool_source is not None:
                raise UserError(
                    f"data.selections.{number}.pool is given; a part selects from the pool of the "
                    "whole: leave it out"
                )
            if type(part).responses is not TraceDataModule.responses:
                name = type(part).__name__
                raise UserError(
                    f"data.selections.{number} is {name}, which chooses among the responses to a "
                    "question; parts choose among questions: write its traces as a pool with "
                    f"`select` ({name} alone, without a budget), and compose selections from that"
                )
            given = _told(part)
            for name, value in _told(RandomSelection()).items():
                if given[name] != value:
                    raise UserError(
                        f"data.selections.{number}.{name} is {given[name]!r}; a part has its own "
                        "arguments and a budget: give the rest to the whole"
                    )
        self.selections = selections

    @property
    def selection_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the parts read."""
        columns = (
            name
            for part in self.selections
            for name in (*part.selection_columns, *part.wanted.budget.columns)
        )
        return tuple(dict.fromkeys(columns))


class ChainSelection(_ComposedSelection):
    """Each selection chooses from the result of the one before: disagreeing, then diverse.

    A part's own ``num_traces`` or ``num_tokens`` says how much it passes on (without one: all that
    its rule keeps); the last one fills the budget of the whole.

    Args:
        selections: The parts, in order, without a pool of their own.
        **rest: Arguments of ``TraceDataModule``.

    Raises:
        UserError: There are fewer than two, one has a pool, or the last has a budget of its own.

    Source: our choice; NaturalThoughts (arXiv:2507.01921) combines rules in its abstract alone.
    """

    def __init__(self, *, selections: list[TraceDataModule], **rest: Any) -> None:
        super().__init__(selections=selections, **rest)
        if selections[-1].wanted.budget != Budget():
            raise UserError(
                f"data.selections.{len(selections) - 1} has a budget; the last part fills the "
                "budget of the whole: leave it out"
            )

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """The last part's choice among what the others have left."""
        rows = np.arange(columns.num_rows)
        codes = np.zeros(columns.num_rows, dtype=np.int64)
        names: list[str] = []
        details: dict[str, Any] = {}
        for number, part in enumerate(self.selections):
            rows = np.sort(rows)
            left = take_rows(columns, rows)
            is_last = part is self.selections[-1]
            budget, own_seed = part.wanted.budget, seed_of_part(seed, number)
            if is_last:
                chosen = part.select(left, size, own_seed)
                kept = chosen.rows
            else:
                try:
                    chosen = budget.ask(partial(part.select, left, seed=own_seed), left)
                    kept = budget.fill(chosen, left)
                except UserError as error:
                    name = f"data.selections.{number} ({type(part).__name__})"
                    raise UserError(f"{name}: {error}") from None
            reasons = labelled(number, part, chosen, len(rows))
            codes[rows] = len(names) + reasons.codes
            names += reasons.names
            details |= {f"{number} {type(part).__name__}": chosen.details} if chosen.details else {}
            rows = rows[kept]
        return Selected(rows, Reasons(codes, names), details)


class MixtureSelection(_ComposedSelection):
    """Several selections side by side, each with its share, such as half disagreeing, half random.

    The parts take turns in proportion to the shares, and no trace is taken twice: a part passes
    over what another has taken. It ends where a part whose turn it is has none left.

    Args:
        selections: The parts, without a pool or budget of their own.
        shares: Share of each part; they add up to 1.
        **rest: Arguments of ``TraceDataModule``.

    Raises:
        UserError: There are fewer than two, one has a pool or a budget, or the shares do not fit.

    Source: our choice; NaturalThoughts (arXiv:2507.01921) combines rules in its abstract alone.
    """

    def __init__(
        self, *, selections: list[TraceDataModule], shares: list[float], **rest: Any
    ) -> None:
        super().__init__(selections=selections, **rest)
        fit = len(shares) == len(selections) and min(shares) > 0
        if not fit or abs(sum(shares) - 1) > 1e-6:
            raise UserError(
                f"data.shares is {shares}; allowed: {len(selections)} positive numbers that add "
                "up to 1"
            )
        for number, part in enumerate(selections):
            if part.wanted.budget != Budget():
                raise UserError(
                    f"data.selections.{number} has a budget; shares divide the budget of the "
                    "whole: leave it out"
                )
        self.shares = shares

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """The parts' best free candidates in turns."""
        total = columns.num_rows
        chosen = [  # of a part's first rows others have at most the rest: as many are enough
            part.select(columns, size, seed_of_part(seed, number))
            for number, part in enumerate(self.selections)
        ]
        orders = [one.rows for one in chosen]
        turns = take_turns(orders, self.shares, total, total if size is None else size)
        codes = np.zeros(total, dtype=np.int64)
        names = ["in no part's turn"]
        details: dict[str, Any] = {}
        for number, (part, one) in enumerate(zip(self.selections, chosen, strict=True)):
            reasons = labelled(number, part, one, total)
            rows = turns.rows[turns.parts == number]
            codes[rows] = len(names) + reasons.codes[rows]
            names += reasons.names
            details |= {f"{number} {type(part).__name__}": one.details} if one.details else {}
        return Selected(turns.rows, Reasons(codes, names), details)


def labelled(number: int, part: TraceDataModule, chosen: Selected, total: int) -> Reasons:
    """A part's reasons under its place and name."""
    name = f"{number} {type(part).__name__}"
    if chosen.reasons is None:
        return Reasons(np.zeros(total, dtype=np.int64), [name])
    return Reasons(chosen.reasons.codes, [f"{name}: {reason}" for reason in chosen.reasons.names])


def _told(part: TraceDataModule) -> dict[str, Any]:
    """What a part has been told that is the whole's to say."""
    names = ("model_name", "system_prompt", "bins_per_step", "num_workers")
    own = {name: getattr(part, name) for name in names}
    return {**vars(replace(part.wanted, budget=Budget())), **own}
