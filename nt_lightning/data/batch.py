"""The packed batch: one row of traces, its labels, and where each trace begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nt_lightning.data.plan import FILLER, EpochPlan, Ints

IGNORE_INDEX = -100


class PackedBatch(NamedTuple):
    """One micro-batch: S traces in a row of T tokens, no padding.

    Labels are unshifted: ``labels[0, t]`` is ``input_ids[0, t]`` or ``IGNORE_INDEX``; the shift
    happens in the loss alone. A filler has one short trace and no labels.
    """

    input_ids: Tensor  # int64 [1, T]
    labels: Tensor  # int64 [1, T]
    position_ids: Tensor  # int64 [1, T], from 0 in every trace
    cu_seqlens: Tensor  # int32 [S + 1], flash-attn's cumulative lengths
    max_seqlen: int  # longest trace of the row
    modes: Tensor  # int64 [S], index into MODE_NAMES
    teachers: Tensor  # int64 [S], index into the data's teacher names
    rows: Tensor  # int64 [S], row of each trace in the tokenised data; empty in a filler
    step_labels: int  # labelled tokens of the whole optimizer step, over all ranks


class MicroBatch(NamedTuple):
    """What the sampler hands to the data set: a bin of an epoch's plan."""

    plan: EpochPlan
    step: int
    bin_index: int


class PackedTraces(Dataset[PackedBatch]):
    """Turns a bin of the plan into a packed batch.

    Args:
        traces: Tokenised traces: ``input_ids``, ``num_prompt``, ``mode``, ``teacher``.
        teacher_names: Names in the order of their codes.
    """

    def __init__(self, traces: datasets.Dataset, teacher_names: Sequence[str]) -> None:
        self.traces = traces.with_format("arrow")
        self._teacher_code = {name: code for code, name in enumerate(teacher_names)}

    def __getitem__(self, item: MicroBatch) -> PackedBatch:
        """The packed batch of a bin; for ``FILLER`` the first trace's first tokens, unlabelled."""
        filler = item.bin_index == FILLER
        rows = np.zeros(1, dtype=np.int64) if filler else item.plan.rows(item.bin_index)
        table = self.traces[rows]
        tokens = table["input_ids"].combine_chunks()
        ids = tokens.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        starts = (tokens.offsets.to_numpy() - tokens.offsets[0].as_py()).astype(np.int64)
        if filler:
            ids, starts = ids[:2], np.array([0, min(2, len(ids))])
        lengths = np.diff(starts)
        positions = np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
        prompt = np.repeat(table["num_prompt"].to_numpy(), lengths)
        labels = np.full_like(ids, IGNORE_INDEX) if filler else labels_of(ids, positions, prompt)
        teachers = [self._teacher_code[name] for name in table["teacher"].to_pylist()]
        return PackedBatch(
            torch.from_numpy(ids)[None],
            torch.from_numpy(labels)[None],
            torch.from_numpy(positions)[None],
            torch.from_numpy(starts.astype(np.int32)),
            int(lengths.max()),
            torch.from_numpy(table["mode"].to_numpy().astype(np.int64)),
            torch.tensor(teachers),
            torch.from_numpy(rows[:0] if filler else rows),
            int(item.plan.labels_per_step[item.step]),
        )


def labels_of(ids: Ints, positions: Ints, num_prompt: Ints) -> Ints:
    """Labels of a row: the response's ids, ``IGNORE_INDEX`` where the prompt stands.

    Args:
        ids: Token ids, [T].
        positions: Position of each token in its trace, [T].
        num_prompt: Prompt length of each token's trace, [T].
    """
    return np.where(positions < num_prompt, IGNORE_INDEX, ids)
