"""Packed rows: responses' runs laid side by side, each question in front of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nt_lightning.student.naturalness.attention import RunLayout, Segment
from nt_lightning.student.naturalness.layout import Ints, ResponsePlan, Run, ScoreSpec


class ScoringRow(NamedTuple):
    """One packed row of R tokens without padding, of which N are scored.

    The state at ``sources[i]`` predicts ``targets[i]``; its log-probability goes to ``slots[i]`` of
    the batch's values. The first ``num_ranked`` also want their rank.
    """

    input_ids: Tensor  # int64 [1, R]
    position_ids: Tensor  # int64 [1, R], from 0 in every question, run on behind it in every run
    layout: RunLayout
    sources: Tensor  # int64 [N]
    targets: Tensor  # int64 [N]
    slots: Tensor  # int64 [N]
    num_ranked: int

    def to(self, device: torch.device) -> ScoringRow:
        """The row with its tensors on a device."""
        return self._replace(
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            sources=self.sources.to(device),
            targets=self.targets.to(device),
            slots=self.slots.to(device),
        )


class ScoringBatch(NamedTuple):
    """Responses that are scored together: their rows, computed one after the other."""

    plans: tuple[ResponsePlan, ...]
    rows: tuple[ScoringRow, ...]
    spec: ScoreSpec


def make_batch(plans: Sequence[ResponsePlan], spec: ScoreSpec, max_tokens: int) -> ScoringBatch:
    """Lay responses out in rows of at most ``max_tokens`` tokens.

    A response that fits into a row is never torn; a larger one continues in further rows, each
    with its question again. A question with one run is never torn, whatever its length.

    Args:
        plans: What is scored, from ``plan_response``.
        spec: What the plans were made with.
        max_tokens: Tokens of a row.
    """
    builder, rows, base = _RowBuilder(), [], 0
    alone = np.asarray(spec.empty_prompt, dtype=np.int64)
    for plan in plans:
        if builder.size and builder.size + plan.num_tokens(len(alone)) > max_tokens:
            rows.append(builder.row())
            builder = _RowBuilder()
        for run, opens in _in_order(plan):
            prefix = plan.tokens.prompt if run.asked else alone
            needed = run.end - run.start + (len(prefix) if opens else 0)
            if builder.size and builder.size + needed > max_tokens:
                rows.append(builder.row())
                builder, opens = _RowBuilder(), True
            builder.add(prefix if opens else None, plan, run, base)
        base += plan.num_values
    if builder.size:
        rows.append(builder.row())
    return ScoringBatch(tuple(plans), tuple(rows), spec)


def _in_order(plan: ResponsePlan) -> Iterator[tuple[Run, bool]]:
    """Runs and whether a prefix stands in front of them: asked ones first, the longest ahead."""
    for asked in (True, False):
        first = True
        for run in plan.runs:
            if run.asked == asked:
                yield run, first
                first = False


class _RowBuilder:
    """Collects the pieces of one row."""

    def __init__(self) -> None:
        self.size = 0
        self._ids: list[Ints] = []
        self._positions: list[Ints] = []
        self._prefixes: list[int] = []
        self._runs: list[list[int]] = []
        self._scored: dict[bool, list[Ints]] = {True: [], False: []}

    def add(self, prefix: Ints | None, plan: ResponsePlan, run: Run, base: int) -> None:
        """Add a run behind the open prefix, or behind a new one."""
        if prefix is not None:
            self._put(prefix, 0)
            self._prefixes.append(len(prefix))
            self._runs.append([])
        behind = self._prefixes[-1]
        begin = self.size
        last_of_prefix = begin - 1 - sum(self._runs[-1])
        self._put(plan.tokens.response[run.start : run.end], behind)
        self._runs[-1].append(run.end - run.start)
        for (start, end), slot in zip(run.scored, run.slots, strict=True):
            sources = np.arange(start, end) - run.start + begin - 1
            if start == run.start:
                sources[0] = last_of_prefix
            slots = np.arange(end - start) + slot + base
            targets = plan.tokens.response[start:end]
            self._scored[run.ranked].append(np.stack([sources, targets, slots]))

    def row(self) -> ScoringRow:
        """The row so far."""
        ranked = self._scored[True]
        scored = [*ranked, *self._scored[False]]
        joined = np.concatenate(scored, axis=1) if scored else np.zeros((3, 0), dtype=np.int64)
        sources, targets, slots = torch.from_numpy(joined)
        segments = tuple(map(Segment, self._prefixes, map(tuple, self._runs)))
        return ScoringRow(
            torch.from_numpy(np.concatenate(self._ids))[None],
            torch.from_numpy(np.concatenate(self._positions))[None],
            RunLayout(segments),
            sources,
            targets,
            slots,
            sum(part.shape[1] for part in ranked),
        )

    def _put(self, ids: Ints, position: int) -> None:
        self._ids.append(np.asarray(ids, dtype=np.int64))
        self._positions.append(np.arange(position, position + len(ids)))
        self.size += len(ids)
