"""What a selection answers: rows, best first, and by which reason each candidate was judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.data.plan import Ints


class Reasons(NamedTuple):
    """The reason of every candidate: the group in which the rule put it, taken or not.

    Args:
        codes: Index into ``names``, [N].
        names: Reasons as a reader sees them, such as ``verbosity 3`` or ``no domain``.
    """

    codes: Ints
    names: list[str]

    def counts(self, rows: Ints | None = None) -> dict[str, int]:
        """Candidates of each reason among ``rows``; ``None``: among all."""
        codes = self.codes if rows is None else self.codes[rows]
        counted: dict[str, int] = dict.fromkeys(self.names, 0)
        for name, count in zip(
            self.names, np.bincount(codes, minlength=len(self.names)).tolist(), strict=True
        ):
            counted[name] += count
        return counted


class Selected(NamedTuple):
    """Outcome of a selection.

    Args:
        rows: Row numbers into the candidates, best first: a smaller budget takes a prefix.
        reasons: Reason of each candidate; ``None``: the selection has nothing to say.
        details: What else its audit should show, as plain JSON.
    """

    rows: Ints
    reasons: Reasons | None = None
    details: dict[str, Any] = {}

    def left_out(self, total: int) -> str:
        """The reasons of those of ``total`` candidates that were not taken, for an error."""
        if self.reasons is None:
            return ""
        left = np.ones(total, dtype=bool)
        left[self.rows] = False
        others = self.reasons.counts(np.flatnonzero(left))
        counts = sorted(others.items(), key=lambda pair: -pair[1])
        out = ", ".join(f"{count} ({name})" for name, count in counts[:8] if count)
        return f"; left out: {out}" if out else ""


def one_reason(count: int, name: str) -> Reasons:
    """The same reason for each of ``count`` candidates."""
    return Reasons(np.zeros(count, dtype=np.int64), [name])


def reasons_from(
    conditions: Sequence[npt.NDArray[np.bool_]], names: Sequence[str], otherwise: str
) -> Reasons:
    """Each candidate's first true condition.

    Args:
        conditions: Masks, each [N].
        names: A reason for each mask.
        otherwise: Reason where none is true.
    """
    codes = np.select(list(conditions), list(range(len(names))), default=len(names))
    return Reasons(codes.astype(np.int64), [*names, otherwise])


def groups_of(column: pa.ChunkedArray, missing: str) -> Reasons:
    """A reason per distinct text, in alphabetical order; blank and null are the last, ``missing``.

    The numbering depends on the texts alone, not on the order of the rows or on their shards.
    """
    texts = pc.utf8_trim_whitespace(column.combine_chunks())
    codes = pc.dictionary_encode(pc.if_else(pc.equal(texts, ""), None, texts))
    names = codes.dictionary.to_pylist()
    place = np.argsort(np.argsort(np.asarray(names, dtype=object))) if names else np.zeros(1, int)
    indices = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    numbered = np.where(indices < 0, len(names), place[indices])
    return Reasons(numbered, [*sorted(names), missing])
