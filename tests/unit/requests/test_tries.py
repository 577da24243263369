"""How long a request is put off, and when it is given up."""

import pytest

from nt_lightning.requests.attempt import Attempt
from nt_lightning.requests.tries import MAX_ATTEMPTS, Tries


@pytest.mark.parametrize("kind", ["failed", "lost"])
def test_a_request_fails_six_times(kind):
    tries = Tries()
    for number in range(MAX_ATTEMPTS):
        assert (number, tries.are_enough) == (number, False)
        tries.count(Attempt(kind, 1.0))
    assert tries.are_enough


def test_a_request_is_put_off_for_a_quarter_of_an_hour():
    tries, waits = Tries(), []
    while not tries.are_enough:
        waits.append(tries.count(Attempt("throttled", 1.0)))
    assert sum(waits[:-1]) <= 900 < sum(waits)
    tries = Tries()
    assert tries.count(Attempt("throttled", 1.0, wait_s=600.0)) >= 600.0
    tries.count(Attempt("throttled", 1.0, wait_s=600.0))
    assert tries.are_enough


def test_waits_are_spread_below_a_bound_that_doubles():
    bounds = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    series = [Tries() for _ in range(400)]
    for bound in bounds:
        waits = [tries.count(Attempt("failed", 1.0)) for tries in series]
        assert 0 <= min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound
        assert 0.4 * bound < sum(waits) / len(waits) < 0.6 * bound


def test_all_who_are_told_the_same_time_do_not_come_together():
    waits = [Tries().count(Attempt("throttled", 1.0, wait_s=20.0)) for _ in range(200)]
    assert 20.0 <= min(waits) < 21.0
    assert 29.0 < max(waits) <= 30.0


def test_a_server_that_asks_for_too_little_again_and_again():
    series = [Tries() for _ in range(200)]
    for bound in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.0, 6.0):
        waits = [tries.count(Attempt("throttled", 1.0, wait_s=0.01)) for tries in series]
        assert 0.9 * bound < max(waits) <= bound + 0.01


def test_a_busy_server_does_not_make_failures_longer():
    waits = []
    for _ in range(100):
        tries = Tries()
        for _ in range(6):
            tries.count(Attempt("throttled", 1.0))
        waits.append(tries.count(Attempt("failed", 1.0)))
    assert max(waits) <= 1.0
