"""Responses as numbers: what a result depends on, without text, and fit to travel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import OUTCOMES

if TYPE_CHECKING:
    from nt_lightning.evaluation.results import Sample

_OUTCOME_NUMBER = {outcome: number for number, outcome in enumerate(OUTCOMES)}

Ints = NDArray[np.int64]


class Responses(NamedTuple):
    """Columns of int64 [N], one row a response.

    ``problem`` is an index; ``correct`` and ``obedient`` are 1, 0, or -1 for ``None``; ``outcome``
    is a place in ``OUTCOMES``, -1 for ``not_evaluated``; ``answer_class`` is a hash, alike for
    alike answers.
    """

    problem: Ints
    repeat: Ints
    correct: Ints
    outcome: Ints
    num_tokens: Ints
    obedient: Ints
    opened_think: Ints
    answer_class: Ints


def responses_of(samples: Sequence[Sample], places: Mapping[str, int]) -> Responses:
    """The columns of samples.

    Args:
        samples: Any number of them.
        places: Index of each problem id.

    Raises:
        UserError: A sample's problem has no index.
    """
    rows = []
    for sample in samples:
        if sample.problem_id not in places:
            raise UserError(
                f"a response of {sample.benchmark} is to problem {sample.problem_id!r}, which is "
                f"none of its {len(places)} problems"
            )
        rows.append(
            (
                places[sample.problem_id],
                sample.repeat,
                _flag(sample.correct),
                _OUTCOME_NUMBER.get(sample.outcome, -1),
                sample.num_tokens,
                _flag(sample.obedient),
                sample.opened_think,
                _number_of(sample.answer_class),
            )
        )
    matrix = np.array(rows, dtype=np.int64).reshape(len(rows), len(Responses._fields))
    return Responses(*matrix.T)


def _flag(value: bool | None) -> int:
    return -1 if value is None else int(value)


def _number_of(text: str) -> int:
    """The first 64 bits of a text's SHA-256, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
