"""One trace per question, validation by question, nested random subsets."""

import pyarrow as pa
import pytest

from nt_lightning.data.choose import choose, one_per_question, random_rows
from nt_lightning.data.randomness import uniform_from_ids
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


def test_unknown_teacher():
    with pytest.raises(UserError, match="teacher 'w' is not in the pool; it has: x, y, z"):
        one_per_question(POOL, ["w"])


def ids(count):
    names = [f"t{i}" for i in range(count)]
    return pa.table({"id": names, "question_key": names})


def by_chance(columns, size, seed):
    return random_rows(columns["id"], size, seed)


def test_validation_is_apart_and_the_same_for_every_selection():
    small = choose(ids(100), by_chance, num_traces=10, num_val=20, seed=3)
    large = choose(ids(100), by_chance, num_traces=60, num_val=20, seed=3)
    first = choose(ids(100), lambda c, n, s: range(n), num_traces=5, num_val=20, seed=3)
    assert small.val.tolist() == large.val.tolist() == first.val.tolist()
    assert not set(large.train) & set(large.val)
    assert set(small.train) < set(large.train)
    assert len(large.train) == 60


def test_none_takes_the_rest():
    chosen = choose(ids(30), by_chance, num_traces=None, num_val=4, seed=0)
    assert sorted([*chosen.train, *chosen.val]) == list(range(30))


@pytest.mark.parametrize(("wanted", "val"), [(11, 0), (8, 3), (0, 1), (None, 10)])
def test_too_small_a_pool(wanted, val):
    with pytest.raises(UserError, match="the pool has 10 questions"):
        choose(ids(10), by_chance, num_traces=wanted, num_val=val, seed=0)


def test_a_selection_in_any_order_is_sorted():
    chosen = choose(ids(9), lambda c, n, s: [7, 0, 3], num_traces=3, num_val=0, seed=0)
    assert chosen.train.tolist() == [0, 3, 7]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([1, 2], r"rows of shape \(2,\), not \(3,\)"),
        ([[1, 2, 3]], r"rows of shape \(1, 3\), not \(3,\)"),
        (None, r"rows of shape \(\), not \(3,\)"),
        ([1.0, 2.0, 3.0], "rows of type float64, not integers"),
        ([True, False, True], "rows of type bool, not integers"),
        ([2, 5, 2], "row 2 2 times; allowed: once"),
        ([0, 1, 9], "rows 0 to 9; allowed: 0 to 8"),
        ([-1, 0, 1], "rows -1 to 1; allowed: 0 to 8"),
    ],
)
def test_a_selection_that_breaks_its_contract_is_named(rows, wrong):
    class Wild:
        def select(self, columns, size, seed):
            return rows

    with pytest.raises(UserError, match=rf"Wild\.select gave {wrong}"):
        choose(ids(9), Wild().select, num_traces=3, num_val=0, seed=0)


def test_random_rows_do_not_depend_on_the_order_of_the_pool():
    table = ids(500)["id"]
    turned = table.take(pa.array(range(499, -1, -1)))
    kept = {table[i].as_py() for i in random_rows(table, 50, 9)}
    assert kept == {turned[i].as_py() for i in random_rows(turned, 50, 9)}


def test_uniform_numbers_are_uniform_and_independent():
    names = [f"t{i}" for i in range(20_000)]
    one, two = uniform_from_ids(names, 0, "mixing"), uniform_from_ids(names, 0, "selection")
    assert 0 <= one.min() < one.max() < 1
    assert abs(one.mean() - 0.5) < 0.01
    assert abs(one.var() - 1 / 12) < 0.002
    assert abs(((one - 0.5) * (two - 0.5)).mean() * 12) < 0.03
