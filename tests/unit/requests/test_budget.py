"""Hard caps: whatever the order, no sum passes one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.errors import UserError
from nt_lightning.requests.budget import Budget, Caps, Spent

COST = st.builds(Spent, st.just(1), st.integers(0, 1000), st.floats(0, 2.0))
CAP = st.none() | st.integers(0, 5000)
CAPS = st.builds(Caps, st.none() | st.integers(0, 10), CAP, st.none() | st.floats(0, 5.0))
SHARES = st.lists(st.tuples(st.booleans(), COST, st.floats(0, 1)), max_size=60)


def below(value, cap):
    return cap is None or value <= cap + 1e-9


def within(caps, spent):
    pairs = zip((caps.max_requests, caps.max_tokens, caps.max_usd), spent, strict=True)
    return all(below(value, cap) for cap, value in pairs)


@given(CAPS, SHARES)
def test_no_order_of_holding_and_settling_passes_a_cap(caps, steps):
    budget, under_way, sent = Budget(caps, Spent()), [], Spent()
    for starts, worst, share in steps:
        if starts and budget.hold(worst):
            under_way.append(worst)
        elif under_way:
            held = under_way.pop(int(share * (len(under_way) - 1)))
            actual = Spent(1, int(share * held.tokens), share * held.usd)
            budget.settle(held, actual)
            sent = Spent(*(a + b for a, b in zip(sent, actual, strict=True)))
        possible = Spent(*(sum(values) for values in zip(sent, *under_way, strict=True)))
        assert within(caps, possible)
        assert budget.spent == pytest.approx(sent)
    for held in under_way:
        budget.settle(held, held)
    assert budget.held == Spent()
    assert within(caps, budget.spent)


@given(CAPS, COST, COST)
def test_a_request_goes_exactly_if_it_fits(caps, before, worst):
    after = Spent(*(a + b for a, b in zip(before, worst, strict=True)))
    pairs = zip((caps.max_requests, caps.max_tokens, caps.max_usd), after, strict=True)
    fits = all(cap is None or value <= cap for cap, value in pairs)
    assert Budget(caps, before).hold(worst) is fits


def test_rounding_leaves_nothing_aside():
    budget = Budget(Caps(max_usd=0.7), Spent())
    for usd in (0.1, 0.2, 0.3):
        assert budget.hold(Spent(1, 1, usd))
    for usd in (0.3, 0.1, 0.2):  # 0.1 + 0.2 + 0.3 - 0.3 - 0.1 - 0.2 is no zero
        budget.settle(Spent(1, 1, usd), Spent(1))
    assert budget.held == Spent()
    assert budget.hold(Spent(1, 1, 0.7))


def test_the_cap_that_does_not_suffice_is_named():
    budget = Budget(Caps(max_requests=5, max_tokens=100, max_usd=2.5), Spent(1, 90, 0.1))
    assert budget.passed(Spent(1, 10, 0.1)) == ""
    assert budget.passed(Spent(1, 11, 0.1)) == "caps.max_tokens 100"
    assert budget.passed(Spent(1, 11, 3.0)) == "caps.max_tokens 100, caps.max_usd 2.5"


@pytest.mark.parametrize("name", ["max_requests", "max_tokens", "max_usd"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_cap_below_zero_is_refused(name, value):
    with pytest.raises(UserError, match=f"caps.{name} is {value}; allowed: 0 and more"):
        Caps(**{name: value}).check()
    Caps(**{name: 0}).check()
