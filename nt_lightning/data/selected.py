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
        counted = np.bincount(codes, minlength=len(self.names))
        return dict(zip(self.names, counted.tolist(), strict=True))


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
    """A reason per distinct text, in alphabetical order; nulls come last, as ``missing``.

    The numbering depends on the texts alone, not on the order of the rows or on their shards.
    """
    codes = pc.dictionary_encode(pa.chunked_array([column.combine_chunks()])).combine_chunks()
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.chunk(0)
    names = codes.dictionary.to_pylist()
    place = np.argsort(np.argsort(np.asarray(names, dtype=object))) if names else np.zeros(1, int)
    indices = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    numbered = np.where(indices < 0, len(names), place[indices])
    return Reasons(numbered, [*sorted(names), missing])
