"""Batches of questions for ``predict``, divided over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import DataLoader, Sampler


class QuestionBatch(NamedTuple):
    """Ids and raw questions of one batch."""

    ids: list[str]
    questions: list[str]


class EveryNth(Sampler[int]):
    """Every ``world_size``-th item from ``rank`` on, in order."""

    def __init__(self, count: int, rank: int, world_size: int) -> None:
        self._items = range(rank, count, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def question_loader(
    ids: Sequence[str], questions: Sequence[str], batch_size: int, rank: int, world_size: int
) -> DataLoader[tuple[str, str]]:
    """A loader of ``QuestionBatch``es for one rank."""
    return DataLoader(
        list(zip(ids, questions, strict=True)),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=EveryNth(len(ids), rank, world_size),
        collate_fn=lambda pairs: QuestionBatch(*map(list, zip(*pairs, strict=True))),
    )
