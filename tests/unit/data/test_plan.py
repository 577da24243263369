"""The packing plan against a naive one, values by hand, and its promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.data.plan import FILLER, best_fit, plan_epoch
from nt_lightning.errors import UserError


def naive_best_fit(lengths, capacity):
    """Textbook best fit: the fullest bin with room, else a new one. Rooms left, sorted."""
    rooms: list[int] = []
    for length in lengths:
        fitting = [b for b in range(len(rooms)) if rooms[b] >= length]
        if fitting:
            rooms[min(fitting, key=lambda b: rooms[b])] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(0, 60))
def test_best_fit_equals_the_textbook(lengths, extra):
    lengths = np.sort(np.array(lengths))[::-1]
    capacity = int(lengths.max()) + extra
    bins, count = best_fit(lengths, capacity)
    rooms = capacity - np.bincount(bins, weights=lengths, minlength=count)
    assert sorted(rooms.astype(int).tolist()) == naive_best_fit(lengths.tolist(), capacity)


def plan(lengths, labels=None, *, max_tokens=10, bins_per_step=2, seed=0, epoch=0, shuffle=True):
    lengths = np.array(lengths, dtype=np.int64)
    labels = lengths if labels is None else np.array(labels, dtype=np.int64)
    return plan_epoch(
        lengths,
        labels,
        max_tokens=max_tokens,
        bins_per_step=bins_per_step,
        seed=seed,
        epoch=epoch,
        shuffle=shuffle,
    )


def test_by_hand():
    ours = plan([6, 5, 4, 5, 9, 1], [3, 2, 1, 2, 4, 1], shuffle=False)
    bins = [ours.rows(b).tolist() for b in range(ours.num_bins)]
    assert bins == [[4, 5], [0, 2], [1, 3]]
    assert ours.labels_per_step.tolist() == [4 + 1 + 3 + 1, 2 + 2]
    assert ours.fill == 1.0
    assert ours.num_steps == 2
    assert (ours.bin_at(0, 0), ours.bin_at(0, 1), ours.bin_at(1, 0)) == (0, 1, 2)
    assert ours.bin_at(1, 1) == FILLER
    assert ours.bin_at(0, 2) == FILLER  # behind the step's bins, though bin 2 exists
    assert ours.step_rows(0).tolist() == [4, 5, 0, 2]


@pytest.mark.parametrize(("world", "micro", "idle"), [(1, 4, 0.125), (2, 2, 0.125), (3, 2, 5 / 12)])
def test_ranks_divide_the_same_steps(world, micro, idle):
    ours = plan([10] * 7, bins_per_step=4)
    assert ours.micro_batches(world) == micro
    assert ours.idle_share(world) == pytest.approx(idle)
    for step in range(ours.num_steps):
        given = [ours.bin_at(step, slot) for slot in range(micro * world)]
        wanted = list(range(step * 4, min(step * 4 + 4, 7)))
        assert [b for b in given if b != FILLER] == wanted


def test_every_trace_once_and_no_bin_too_full():
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 500, 5000)
    ours = plan(lengths, max_tokens=512, bins_per_step=7)
    assert sorted(ours.order.tolist()) == list(range(5000))
    sums = np.add.reduceat(lengths[ours.order], ours.bin_starts[:-1])
    assert sums.max() <= 512
    labels = [lengths[ours.step_rows(step)].sum() for step in range(ours.num_steps)]
    assert labels == ours.labels_per_step.tolist()


def test_order_follows_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(1, 100, 400)
    first = plan(lengths, max_tokens=100, epoch=1)
    assert (first.order == plan(lengths, max_tokens=100, epoch=1).order).all()
    assert (first.order != plan(lengths, max_tokens=100, epoch=2).order).any()
    assert (first.order != plan(lengths, max_tokens=100, epoch=1, seed=1).order).any()
    wide = plan(lengths, max_tokens=100, epoch=1, bins_per_step=5)
    assert (first.order == wide.order).all()


def test_length_is_no_curriculum():
    lengths = np.random.default_rng(1).integers(1, 1000, 4000)
    ours = plan(lengths, max_tokens=1000)
    mean = np.array([lengths[ours.rows(b)].max() for b in range(ours.num_bins)])
    place = np.arange(ours.num_bins)
    assert abs(np.corrcoef(place, mean)[0, 1]) < 0.1
    unshuffled = plan(lengths, max_tokens=1000, shuffle=False)
    by_fit = np.array([lengths[unshuffled.rows(b)].max() for b in range(unshuffled.num_bins)])
    assert np.corrcoef(place, by_fit)[0, 1] < -0.9


def test_bins_are_full_at_16k():
    lengths = np.clip(np.random.default_rng(0).lognormal(7.6, 0.8, 50_000), 40, 16_384)
    assert plan(lengths, max_tokens=16_384, bins_per_step=24).fill >= 0.999


def test_refusals():
    with pytest.raises(UserError, match="the selection is empty"):
        plan([])
    with pytest.raises(UserError, match="trace 1 has 11 tokens; max_tokens is 10"):
        plan([3, 11])
