"""Which runs a response's scores need, by hand and by the method's formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness.layout import (
    ResponseTokens,
    Run,
    ScoreSpec,
    plan_response,
    window_name,
    window_steps,
)
from tests.naturalness import random_response


def test_runs_by_hand():
    """Steps of 2, 1 and 3 tokens, windows of no and one step."""
    plan = plan_response(random_response((2, 1, 3), 3, 50), ScoreSpec(windows=(0, 1)))
    assert plan.runs == (
        Run(0, 5, ((0, 6),), (0,), ranked=True),
        Run(0, 5, ((1, 6),), (7,), asked=False),
        Run(2, 5, ((2, 3), (3, 6)), (12, 13)),
        Run(3, 5, ((3, 6),), (16,)),
    )
    assert plan.cells == {(0, 0): 0, (0, 1): 2, (1, 0): 12, (1, 1): 13, (2, 0): 16}
    assert plan.num_values == 19
    assert plan.num_tokens() == 3 + 5 + 5 + 3 + 2
    assert plan.reason is None


def test_one_window_reads_no_run_that_it_does_not_need():
    plan = plan_response(random_response((2, 1, 3), 3, 50), ScoreSpec(windows=(1,), ifd=False))
    assert plan.runs[1:] == (Run(2, 5, ((3, 6),), (6,)),)
    assert plan.num_tokens() == 3 + 5 + 3


def test_the_first_run_is_read_where_the_whole_is_not():
    spec = ScoreSpec(windows=(0, 1), context=8)
    plan = plan_response(random_response((2, 1, 3), 3, 50), spec)
    assert plan.runs == (
        Run(0, 2, ((0, 2), (2, 3)), (0, 2)),
        Run(2, 5, ((2, 3), (3, 6)), (3, 4)),
        Run(3, 5, ((3, 6),), (7,)),
    )
    assert plan.cells == {(0, 0): 0, (0, 1): 2, (1, 0): 3, (1, 1): 4, (2, 0): 7}
    assert plan.num_tokens() == 3 + 2 + 3 + 2


def test_without_windows_the_whole_is_read_alone():
    plan = plan_response(random_response((2, 1), 4, 50), ScoreSpec(windows=(), ifd=False))
    assert plan.runs == (Run(0, 2, ((0, 3),), (0,), ranked=True),)
    assert plan.num_tokens() == 4 + 2


def test_ids_in_front_of_the_response_alone_score_its_first_token():
    spec = ScoreSpec(windows=(), empty_prompt=(1, 2))
    plan = plan_response(random_response((2, 1), 4, 50), spec)
    assert plan.runs[1] == Run(0, 2, ((0, 3),), (3,), asked=False)
    assert plan.num_tokens(2) == 4 + 2 + 2 + 2


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 9),
    st.integers(0, 14),
    st.booleans(),
)
def test_token_passes(steps, prompt, k, ifd):
    """question + sum_j min(j, k+1)|s_j| + response [+ response], and what need not be read.

    The run from the first step is part of the whole; the last token of every run predicts nothing.
    """
    plan = plan_response(
        random_response(steps, prompt, 50), ScoreSpec(windows=tuple(range(k + 1)), ifd=ifd)
    )
    local = sum(min(j, k + 1) * length for j, length in enumerate(steps, start=1))
    shared, runs = sum(steps[: k + 1]), len(steps) + ifd
    assert plan.num_tokens() == prompt + local + sum(steps) * (1 + ifd) - shared - runs


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.sets(st.one_of(st.integers(0, 14), st.floats(0.05, 1)), min_size=1, max_size=4),
)
def test_every_step_has_a_cell_in_every_window_and_cells_do_not_overlap(steps, windows):
    plan = plan_response(random_response(steps, 3, 50), ScoreSpec(windows=tuple(windows)))
    for window in {window_steps(window, len(steps)) for window in windows}:
        for step in range(len(steps)):
            assert (max(0, step - window), min(step, window)) in plan.cells
    taken = np.zeros(plan.num_values, dtype=int)
    for run in plan.runs:
        for (start, end), slot in zip(run.scored, run.slots, strict=True):
            assert run.start <= start <= end <= run.end + 1
            taken[slot : slot + end - start] += 1
    alone = sum(steps)
    assert taken.max() == 1
    assert np.flatnonzero(taken == 0).tolist() == [alone]  # nothing predicts it


@pytest.mark.parametrize(
    ("window", "steps", "name", "size"),
    [
        (0, 8, "0", 0),
        (4, 3, "4", 4),
        (0.25, 8, "25pct", 2),
        (0.05, 3, "5pct", 1),
        (1.0, 7, "100pct", 7),
        (0.55, 100, "55pct", 55),  # in floating point a little above 55
        (0.07, 100, "7pct", 7),
    ],
)
def test_windows(window, steps, name, size):
    assert window_name(window) == name
    assert window_steps(window, steps) == size


@pytest.mark.parametrize("window", [-1, -0.5, 0.0, 1.5])
def test_windows_are_checked(window):
    with pytest.raises(UserError, match=f"window {window} is not allowed"):
        ScoreSpec(windows=(window,))


@pytest.mark.parametrize(
    ("prompt", "response", "reason"),
    [(3, 0, "the response has no token"), (0, 3, "the prompt has no token")],
)
def test_nothing_to_read(prompt, response, reason):
    ids = np.arange(prompt), np.arange(response)
    lengths = np.array([response] if response else [], dtype=np.int64)
    plan = plan_response(ResponseTokens("a", *ids, lengths), ScoreSpec())
    assert plan.runs == ()
    assert plan.num_tokens() == 0
    assert plan.reason == reason


@pytest.mark.parametrize(
    ("context", "windows", "whole", "reason"),
    [
        (24, (0, 1, 2), True, None),
        (23, (0, 1, 2), False, "question and response have 24 tokens; the student reads 23"),
        (21, (0, 1), False, "longest runs for windows of 2 steps are too long"),
        (17, (0,), False, "longest runs for windows of 1, 2 steps are too long"),
        (14, (), False, "the question and the longest step have 15 tokens"),
        (5, (), False, "the question has 5 tokens; the student reads 5"),
    ],
)
def test_what_does_not_fit_is_left_out(context, windows, whole, reason):
    """Question 5; steps 2, 3, 10, 4: windows of 0, 1, 2 steps need 10, 14, 17 tokens behind it."""
    plan = plan_response(
        random_response((2, 3, 10, 4), 5, 50), ScoreSpec(windows=(0, 1, 2), context=context)
    )
    assert plan.windows == windows
    assert (plan.whole, plan.ifd) == (whole, whole)
    assert reason in plan.reason if reason else plan.reason is None
    for run in plan.runs:
        assert 5 * run.asked + run.scored[-1][1] - run.start <= context


def test_steps_must_sum_up():
    wrong = random_response((2, 3), 3, 50)._replace(step_lengths=np.array([2, 2]))
    with pytest.raises(ValueError, match=r"steps of \[2, 2\] tokens in a response of 5"):
        plan_response(wrong, ScoreSpec())


def test_a_window_wider_than_the_response_costs_no_more():
    """A range over a window of so many steps would never end."""
    one = random_response((2, 3), 4, 50)
    wide, narrow = (plan_response(one, ScoreSpec((window,))) for window in (10**12, 1))
    assert wide.cells == narrow.cells
    assert wide.windows == (10**12,)
