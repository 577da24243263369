"""The packing plan: which traces share a row, which rows make a step, known before an epoch starts.

A pure function of (lengths, seed, epoch). It does not depend on the number of devices: ranks only
divide a step's bins among themselves. Nothing here copies a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nt_lightning.errors import UserError

Ints = npt.NDArray[np.int64]
FILLER = -1


@dataclass(frozen=True)
class EpochPlan:
    """One epoch: traces in bins, bins in optimizer steps.

    Args:
        order: Trace rows in the order of training, [N]; bin b is
            ``order[bin_starts[b]:bin_starts[b + 1]]``.
        bin_starts: [num_bins + 1], ascending.
        bins_per_step: B; the last step may have fewer bins.
        labels_per_step: Labelled tokens of every optimizer step over all ranks, [num_steps].
        tokens: All tokens of the epoch.
        max_tokens: Capacity of a bin.
    """

    order: Ints
    bin_starts: Ints
    bins_per_step: int
    labels_per_step: Ints
    tokens: int
    max_tokens: int

    @property
    def num_bins(self) -> int:
        """Packed rows in the epoch."""
        return len(self.bin_starts) - 1

    @property
    def num_steps(self) -> int:
        """Optimizer steps in the epoch."""
        return len(self.labels_per_step)

    @property
    def fill(self) -> float:
        """Share of the bins' capacity that holds tokens."""
        return self.tokens / (self.num_bins * self.max_tokens)

    def micro_batches(self, world_size: int) -> int:
        """Micro-batches of one rank in one step, K = ceil(B / R)."""
        return -(-min(self.bins_per_step, self.num_bins) // world_size)

    def idle_share(self, world_size: int) -> float:
        """Share of micro-batches that are fillers without labels."""
        slots = self.num_steps * self.micro_batches(world_size) * world_size
        return 1 - self.num_bins / slots

    def bin_at(self, step: int, slot: int) -> int:
        """Number of the bin in a step's slot, or ``FILLER`` behind the step's last bin."""
        index = step * self.bins_per_step + slot
        within = slot < self.bins_per_step and index < self.num_bins
        return index if within else FILLER

    def rows(self, bin_index: int) -> Ints:
        """Trace rows of a bin, in order."""
        return self.order[self.bin_starts[bin_index] : self.bin_starts[bin_index + 1]]

    def step_rows(self, step: int) -> Ints:
        """Trace rows of a whole optimizer step, over all ranks."""
        first = step * self.bins_per_step
        last = min(first + self.bins_per_step, self.num_bins)
        return self.order[self.bin_starts[first] : self.bin_starts[last]]


def plan_epoch(
    lengths: Ints,
    num_labels: Ints,
    *,
    max_tokens: int,
    bins_per_step: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
) -> EpochPlan:
    """Pack traces into bins by best fit, shuffle the bins, cut them into steps.

    Best-fit decreasing sorts by length; shuffling the bins keeps that from becoming a curriculum,
    and which of several equally long traces goes where follows (seed, epoch).

    Args:
        lengths: Tokens of each trace, [N], each 1 .. ``max_tokens``.
        num_labels: Labelled tokens of each trace, [N], each at least 1.
        max_tokens: Capacity of a bin.
        bins_per_step: Bins in one optimizer step, over all ranks.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        shuffle: ``False`` keeps best fit's own order (validation).

    Raises:
        UserError: No traces, or one that is longer than a bin.
    """
    if len(lengths) == 0:
        raise UserError("there is no trace to plan: the selection is empty")
    if int(lengths.max()) > max_tokens:
        row = int(lengths.argmax())
        raise UserError(f"trace {row} has {lengths[row]} tokens; max_tokens is {max_tokens}")
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths)) if shuffle else np.arange(len(lengths))
    by_length = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
    bin_of, num_bins = best_fit(lengths[by_length], max_tokens)
    if shuffle:
        bin_of = rng.permutation(num_bins)[bin_of]
    inside = np.argsort(bin_of, kind="stable")
    order = by_length[inside]
    starts = np.zeros(num_bins + 1, dtype=np.int64)
    np.cumsum(np.bincount(bin_of, minlength=num_bins), out=starts[1:])
    per_bin = np.add.reduceat(num_labels[order], starts[:-1])
    labels_per_step = np.add.reduceat(per_bin, np.arange(0, num_bins, bins_per_step))
    return EpochPlan(order, starts, bins_per_step, labels_per_step, int(lengths.sum()), max_tokens)


def best_fit(lengths: Ints, capacity: int) -> tuple[Ints, int]:
    """Best-fit decreasing: each item goes into the fullest bin that still has room.

    Works on groups of bins with equal room and runs of equal lengths, so that half a million
    traces take a fraction of a second.

    Args:
        lengths: Item sizes in descending order, [N].
        capacity: Room of an empty bin.

    Returns:
        The bin of every item, [N], and the number of bins.
    """
    values, firsts, counts = np.unique(-lengths, return_index=True, return_counts=True)
    bin_of = np.empty(len(lengths), dtype=np.int64)
    room: dict[int, list[Ints]] = {}
    mask = 0  # bit r is set: some bin has room r
    num_bins = 0
    for size, first, count in zip(
        (-values).tolist(), firsts.tolist(), counts.tolist(), strict=True
    ):
        end = first + count
        while first < end:
            fitting = mask >> size
            if fitting:
                left = size + (fitting & -fitting).bit_length() - 1
                group = room[left].pop()
                if not room[left]:
                    mask ^= 1 << left
            else:
                left = capacity
                group = np.arange(num_bins, num_bins + -(-(end - first) // (capacity // size)))
                num_bins += len(group)
            first, changed = _fill(bin_of, first, end, size, left, group)
            for new_left, bins in changed:
                if new_left and len(bins):
                    room.setdefault(new_left, []).append(bins)
                    mask |= 1 << new_left
    return bin_of, num_bins


def _fill(
    bin_of: Ints, first: int, end: int, size: int, left: int, group: Ints
) -> tuple[int, list[tuple[int, Ints]]]:
    """Put items ``first .. end`` of one size into a group of bins with equal room.

    Returns the first item that found no place, and (room, bins) of the groups it leaves.
    """
    each = left // size
    full = min(len(group), (end - first) // each)
    bin_of[first : first + full * each] = np.repeat(group[:full], each)
    first += full * each
    rest = group[full:]
    changed = [(left - each * size, group[:full])]
    over = min(end - first, each) if len(rest) else 0
    if over:
        bin_of[first : first + over] = rest[0]
        first += over
        changed.append((left - over * size, rest[:1]))
        rest = rest[1:]
    changed.append((left, rest))
    return first, changed
