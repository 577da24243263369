"""Packed rows by hand, and what tearing them keeps."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.student.naturalness.attention import Segment
from nt_lightning.student.naturalness.layout import ResponseTokens, ScoreSpec, plan_response
from nt_lightning.student.naturalness.rows import make_batch
from tests.naturalness import random_response

ONE = ResponseTokens("a", np.array([10, 11, 12]), np.array([1, 2, 3, 4, 5, 6]), np.array([2, 1, 3]))
SPEC = ScoreSpec()


def test_a_row_by_hand():
    plan = plan_response(ONE, ScoreSpec(windows=(0, 1)))
    (row,) = make_batch([plan], SPEC, 100).rows
    asked = [10, 11, 12, 1, 2, 3, 4, 5, 3, 4, 5, 4, 5]
    assert row.input_ids.tolist() == [[*asked, 1, 2, 3, 4, 5]]
    asked = [0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 3, 4]
    assert row.position_ids.tolist() == [[*asked, 0, 1, 2, 3, 4]]
    assert row.layout.segments == (Segment(3, (5, 3, 2)), Segment(0, (5,)))
    whole, local, alone = [2, 3, 4, 5, 6, 7], [2, 8, 9, 10, 2, 11, 12], range(13, 18)
    assert row.sources.tolist() == [*whole, *local, *alone]
    assert row.targets.tolist() == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 4, 5, 6, 2, 3, 4, 5, 6]
    assert row.slots.tolist() == [*range(6), *range(12, 19), *range(7, 12)]
    assert row.num_ranked == 6


def test_a_torn_response_repeats_its_question():
    plan = plan_response(ONE, ScoreSpec(windows=(0, 1), ifd=False))
    rows = make_batch([plan], SPEC, 12).rows
    assert [row.input_ids.tolist() for row in rows] == [
        [[10, 11, 12, 1, 2, 3, 4, 5, 3, 4, 5]],
        [[10, 11, 12, 4, 5]],
    ]
    assert [row.layout.segments for row in rows] == [(Segment(3, (5, 3)),), (Segment(3, (2,)),)]
    assert [row.num_ranked for row in rows] == [6, 0]
    assert [row.num_ranked for row in make_batch([plan], SPEC, 1).rows] == [6, 0, 0]


def test_a_row_moves_with_its_layout():
    (row,) = make_batch([plan_response(ONE, SPEC)], SPEC, 100).rows
    moved = row.to(torch.device("meta"))
    assert moved.layout is row.layout
    assert moved.num_ranked == row.num_ranked
    assert all(x.device.type == "meta" for x in moved if torch.is_tensor(x))


def tokens_of_values(plan):
    """The token that each value is about."""
    ids, lengths = plan.tokens.response, plan.tokens.step_lengths
    borders = np.concatenate([[0], np.cumsum(lengths)])
    found = np.concatenate([ids, ids, np.zeros(plan.num_values - 2 * len(ids), dtype=int)])
    for (first, offset), slot in plan.cells.items():
        step = ids[borders[first + offset] : borders[first + offset + 1]]
        found[slot : slot + len(step)] = step
    return found


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5),
    st.integers(1, 80),
)
def test_every_value_is_asked_for_once(responses, max_tokens):
    """Whatever a row holds: each slot once, its own token, predicted by the token before it."""
    plans = [
        plan_response(random_response(steps, 2 + n, 1000, n), ScoreSpec(windows=(0, 2)))
        for n, steps in enumerate(responses)
    ]
    batch = make_batch(plans, SPEC, max_tokens)
    slots = np.concatenate([row.slots.numpy() for row in batch.rows])
    assert len(np.unique(slots)) == len(slots) == sum(p.num_values - 1 for p in plans)
    values = np.concatenate([tokens_of_values(plan) for plan in plans])
    ids = [plan.tokens.response.tolist() for plan in plans]
    follows = {pair for one in ids for pair in itertools.pairwise(one)}
    for row in batch.rows:
        assert row.input_ids.shape[1] == sum(s.prefix + sum(s.runs) for s in row.layout.segments)
        assert (row.slots >= 0).all()
        before, own = (ids[0, row.sources].tolist() for ids in (row.input_ids, row.position_ids))
        assert (row.targets.numpy() == values[row.slots.numpy()]).all()
        ends = [segment.prefix - 1 for segment in row.layout.segments if segment.prefix]
        for token, place, target in zip(before, own, row.targets.tolist(), strict=True):
            assert (token, target) in follows or place in ends


def test_no_response():
    assert make_batch([], SPEC, 10).rows == ()
    empty = ONE._replace(response=ONE.response[:0], step_lengths=ONE.step_lengths[:0])
    assert make_batch([plan_response(empty, SPEC)], SPEC, 10).rows == ()
