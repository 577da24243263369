"""One trace per question, validation by question, nested random subsets."""

import re

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.budget import Budget
from nt_lightning.data.choose import choose, one_per_question
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.selected import Reasons, Selected
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError

POOL = pa.table(
    {
        "question_key": ["a", "a", "b", "b", "c"],
        "teacher": ["x", "y", "y", "x", "z"],
    }
)


@pytest.mark.parametrize(
    ("teachers", "rows"),
    [(None, [0, 3, 4]), (["y", "x"], [1, 2]), (["x"], [0, 3]), (["z", "y", "x"], [1, 2, 4])],
)
def test_first_teacher_in_order(teachers, rows):
    assert one_per_question(POOL, teachers).tolist() == rows


def test_filters_leave_the_order_of_the_teachers_alone():
    assert one_per_question(POOL, None, np.array([1, 2, 3, 4])).tolist() == [1, 3, 4]
    assert one_per_question(POOL, ["x", "y"], np.array([1, 2, 4])).tolist() == [1, 2]
    assert one_per_question(POOL, ["z", "x"], np.array([0, 3])).tolist() == [0, 3]


def test_unknown_teacher():
    with pytest.raises(UserError, match="teacher 'w' is not in the pool; it has: x, y, z"):
        one_per_question(POOL, ["w"])


def ids(count):
    names = [f"t{i}" for i in range(count)]
    return pa.table({"id": names, "question_key": names})


by_chance = RandomSelection().select


def test_validation_is_apart_and_the_same_for_every_selection():
    small = choose(ids(100), by_chance, Budget(10), num_val=20, seed=3)
    large = choose(ids(100), by_chance, Budget(60), num_val=20, seed=3)
    first = choose(ids(100), lambda c, n, s: Selected(range(n)), Budget(5), num_val=20, seed=3)
    assert small.val.tolist() == large.val.tolist() == first.val.tolist()
    assert not set(large.train) & set(large.val)
    assert set(small.train) < set(large.train)
    assert len(large.train) == 60


def test_none_takes_the_rest():
    chosen = choose(ids(30), by_chance, Budget(None), num_val=4, seed=0)
    assert sorted([*chosen.train, *chosen.val]) == list(range(30))


@pytest.mark.parametrize(
    ("wanted", "val", "said"),
    [
        (11, 0, "num_traces is 11; allowed: at most 10 (as many questions are there"),
        (8, 3, "num_traces is 8; allowed: at most 7 (3 of 10 questions are kept for validation)"),
        (None, 10, "num_val is 10; allowed: at most 9, all but one of the 10 questions"),
        (3, 12, "num_val is 12; allowed: at most 9"),
    ],
)
def test_too_small_a_pool(wanted, val, said):
    with pytest.raises(UserError, match=f"^data.{re.escape(said)}"):
        choose(ids(10), by_chance, Budget(wanted), num_val=val, seed=0)
    most = int(re.search(r"at most (\d+)", said)[1])  # what is said to be allowed is
    allowed = (most, val) if "num_traces" in said else (None, most)
    chosen = choose(ids(10), by_chance, Budget(allowed[0]), num_val=allowed[1], seed=0)
    assert len(chosen.train) + len(chosen.val) == 10


def test_a_selection_in_any_order_is_sorted():
    chosen = choose(ids(9), lambda c, n, s: Selected([7, 0, 3]), Budget(3), num_val=0, seed=0)
    assert chosen.train.tolist() == [0, 3, 7]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([1, 2], "num_traces is 3; allowed: at most 2, the 2 of 9 candidates that the selection"),
        ([[1, 2, 3]], r"Wild\.select gave rows of shape \(1, 3\); allowed: one dimension"),
        (None, r"Wild\.select gave rows of shape \(\); allowed: one dimension"),
        ([1.0, 2.0, 3.0], "Wild.select gave rows of type float64; allowed: integers"),
        ([True, False, True], "Wild.select gave rows of type bool; allowed: integers"),
        ([2, 5, 2], "Wild.select gave row 2 2 times; allowed: once"),
        ([0, 1, 9], "Wild.select gave rows 0 to 9; allowed: 0 to 8"),
        ([-1, 0, 1], "Wild.select gave rows -1 to 1; allowed: 0 to 8"),
    ],
)
def test_a_selection_that_breaks_its_contract_is_named(rows, wrong):
    class Wild:
        def select(self, columns, size, seed):
            return Selected(rows)

    with pytest.raises(UserError, match=wrong):
        choose(ids(9), Wild().select, Budget(3), num_val=0, seed=0)


def test_what_is_left_out_is_counted():
    reasons = Reasons(np.array([0, 0, 0, 1, 1, 0, 0, 0, 2]), ["bad", "good", "unknown"])
    found = "that the selection takes; left out: 6 (bad), 1 (unknown)"
    with pytest.raises(UserError, match=re.escape(found)):
        choose(ids(9), lambda c, n, s: Selected([3, 4], reasons), Budget(3), num_val=0, seed=0)


def test_a_selection_without_traces_and_one_without_a_result():
    with pytest.raises(UserError, match="the selection takes none of 9 candidates"):
        choose(ids(9), lambda c, n, s: Selected(np.zeros(0, int)), Budget(), num_val=0, seed=0)
    with pytest.raises(UserError, match="gave list, not Selected"):
        choose(ids(9), lambda c, n, s: [1, 2], Budget(2), num_val=0, seed=0)


def test_reasons_are_told_of_every_candidate():
    def odd_first(columns, size, seed):
        odd = [int(name[1:]) % 2 for name in columns["id"].to_pylist()]
        return Selected(np.argsort(odd)[::-1][:size], Reasons(np.array(odd), ["even", "odd"]))

    chosen = choose(ids(20), odd_first, Budget(5), num_val=4, seed=0)
    named = [chosen.reasons.names[code] for code in chosen.reasons.codes]
    assert [named[row] for row in chosen.val] == ["kept for validation"] * 4
    rest = [row for row in range(20) if row not in chosen.val]
    assert [named[row] for row in rest] == [("even", "odd")[row % 2] for row in rest]


def test_a_budget_in_tokens_takes_the_first_ones_that_fit():
    table = ids(6).append_column("response_tokens", pa.array([5, 10, 20, 40, 80, 160]))

    def tokens(number, **others):
        taken = lambda c, n, s: Selected([5, 0, 3, 1, 2, 4] if n > 2 else [0, 1])  # noqa: E731
        return choose(table, taken, Budget(num_tokens=number), num_val=0, seed=0, **others).train

    assert tokens(160).tolist() == [5]
    assert tokens(164).tolist() == [5]
    assert tokens(165).tolist() == [0, 5]
    assert tokens(314).tolist() == [0, 1, 2, 3, 5]
    assert tokens(315).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(UserError, match="num_tokens is 159; allowed: at least 160"):
        tokens(159)
    left = "num_tokens is 316; allowed: at most 315, those of all 6 candidates"
    with pytest.raises(UserError, match=left):
        tokens(316)
    table = ids(2).append_column("response_tokens", pa.array([5, None]))
    with pytest.raises(UserError, match="response_tokens is null in 1 of 2 candidates"):
        tokens(3)


@pytest.mark.parametrize(
    ("budget", "wrong"),
    [
        ((0, None), "data.num_traces is 0"),
        ((None, -1), "num_tokens is -1"),
        ((3, 4), "one of them"),
    ],
)
def test_budgets_that_cannot_be(budget, wrong):
    with pytest.raises(UserError, match=wrong):
        Budget(*budget)


def test_uniform_numbers_are_uniform_and_independent():
    names = [f"t{i}" for i in range(20_000)]
    one, two = uniform_from_ids(names, 0, "mixing"), uniform_from_ids(names, 0, "selection")
    assert 0 <= one.min() < one.max() < 1
    assert abs(one.mean() - 0.5) < 0.01
    assert abs(one.var() - 1 / 12) < 0.002
    assert abs(((one - 0.5) * (two - 0.5)).mean() * 12) < 0.03
