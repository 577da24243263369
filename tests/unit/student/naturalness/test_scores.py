"""Scores from log-probabilities, by hand."""

import numpy as np
import pytest

from nt_lightning.student.naturalness.layout import ScoreSpec, plan_response
from nt_lightning.student.naturalness.scores import (
    aslec_casl,
    global_scores,
    ifd,
    local_scores,
    response_scores,
    step_means,
)
from tests.naturalness import random_response

LOG_PROBS = np.array([-1.0, -2.0, -3.0, -6.0])
LENGTHS = np.array([1, 3])


def test_global_scores():
    found = global_scores(LOG_PROBS, np.array([1, 3, 500, 6]), LENGTHS)
    assert found.galp == -3
    assert found.clipped_rank_sum == 1 + 3 + 100 + 6
    assert found.surprisal_sum == 12
    assert found.rsr == 110 / 12
    assert found.mean_rank == 510 / 4
    assert found.first == -1.5
    assert found.rest == -4.5


def test_without_surprisal_there_is_no_rsr():
    assert global_scores(np.zeros(2), np.ones(2, dtype=int), np.array([2])).rsr is None


def test_steps_of_one_token_have_no_rest():
    found = global_scores(LOG_PROBS, np.ones(4, dtype=int), np.ones(4, dtype=int))
    assert found.rest is None
    assert found.first == found.galp


def test_step_means():
    np.testing.assert_allclose(step_means(LOG_PROBS, LENGTHS), [-1, -11 / 3])


def test_local_scores_take_their_cells():
    """Steps of 1 and 2 tokens: the second is read behind the first, and in a run of its own."""
    plan = plan_response(random_response((1, 2), 3, 50), ScoreSpec(windows=(0, 1), ifd=False))
    values = np.array([-1.0, -2.0, -4.0, -6.0, -8.0])
    np.testing.assert_allclose(local_scores(plan, values, 0), [-1, -7])
    np.testing.assert_allclose(local_scores(plan, values, 1), [-1, -3])
    np.testing.assert_allclose(local_scores(plan, values, 9), [-1, -3])


def test_ifd():
    asked, alone = np.array([-9.0, -1.0, -2.0]), np.array([np.nan, -2.0, -4.0])
    assert ifd(asked, alone) == 0.5
    assert ifd(asked[:1], alone[:1]) is None
    assert ifd(asked, np.array([-3.0, -3.0, -6.0])) == 1.0


def test_columns():
    plan = plan_response(random_response((1, 2), 3, 50), ScoreSpec(windows=(0, 0.5)))
    values = np.array([-1.0, -2.0, -3.0, np.nan, -4.0, -6.0, -3.0, -5.0])
    found = response_scores(plan, values, np.array([1, 2, 3]), (0, 0.5))
    assert found.columns() == {
        "galp": -2.0,
        "lalp_0": (-1 + -4) / 2,
        "lalp_50pct": (-1 + -2.5) / 2,
        "rsr": 1.0,
        "aslec_drop": -3.0,
        "ifd": 0.5,
        "mean_surprisal": 2.0,
        "mean_rank": 2.0,
        "length": 3,
        "scored_steps": 2,
        "clipped_rank_sum": 6.0,
        "surprisal_sum": 6.0,
        "step_first_logprob": -1.5,
        "unscored_reason": None,
    }
    np.testing.assert_allclose(found.step_galp, [-1, -2.5])


def test_what_was_not_read_has_no_score():
    plan = plan_response(random_response((2, 3), 5, 50), ScoreSpec(windows=(0, 1), context=9))
    found = response_scores(plan, np.full(plan.num_values, -2.0), np.zeros(0, dtype=int), (0, 1))
    columns = found.columns()
    assert columns["lalp_0"] == -2
    for name in ("galp", "lalp_1", "rsr", "aslec_drop", "ifd", "mean_rank", "mean_surprisal"):
        assert columns[name] is None, name
    assert "windows of 1 steps are too long" in columns["unscored_reason"]


def test_an_empty_response_has_a_reason_and_no_score():
    plan = plan_response(random_response((), 5, 50), ScoreSpec())
    found = response_scores(plan, np.zeros(0), np.zeros(0, dtype=int), (0, 4))
    assert found.columns()["unscored_reason"] == "the response has no token"
    assert found.columns()["galp"] is found.columns()["lalp_4"] is None


def test_aslec_casl_takes_away_what_the_number_of_steps_explains():
    rng = np.random.default_rng(0)
    first, rest, share = rng.normal(-3, 1, (3, 50))
    mean = 0.25 * first + 0.75 * rest + 2.0 * share - 1.0
    np.testing.assert_allclose(aslec_casl(mean, first, rest, share), mean - 2.0 * share)


def test_aslec_casl_leaves_out_what_is_not_known():
    rng = np.random.default_rng(1)
    mean, first, rest, share = rng.normal(-3, 1, (4, 20))
    want = aslec_casl(mean, first, rest, share)
    columns = np.array([mean, first, rest, share])
    holes = np.concatenate([columns, [[-1], [-1], [np.nan], [1]]], axis=1)
    found = aslec_casl(*holes)
    assert np.isnan(found[-1])
    np.testing.assert_allclose(found[:-1], want)
    assert np.isnan(aslec_casl(*holes[:, -1:])).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_aslec_casl_of_few_is_finite(count):
    rng = np.random.default_rng(2)
    assert np.isfinite(aslec_casl(*rng.normal(-3, 1, (4, count)))).all()
