"""Paired comparisons against scipy and tables by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nt_lightning.errors import UserError
from nt_lightning.evaluation.comparison import compare
from nt_lightning.evaluation.results import Sample
from tests.unit.evaluation.test_results import sample


def run(verdicts: dict[str, str], **changes: str) -> list[Sample]:
    """Samples from ``{"a": "10"}``: two responses to a, the first of them right; - is cut off."""
    made = []
    for name, row in verdicts.items():
        for repeat, verdict in enumerate(row):
            made.append(
                sample(
                    problem_id=name,
                    repeat=repeat,
                    correct={"1": True, "0": False, "?": None, "-": None}[verdict],
                    outcome="not_evaluated" if verdict == "-" else "answered",
                    **changes,
                )
            )
    return made


def test_a_table_by_hand() -> None:
    first = run({"a": "1", "b": "0", "c": "0", "d": "0", "e": "1", "x": "1", "y": "1"})
    second = run({"z": "0", "e": "0", "d": "?", "c": "1", "b": "1", "a": "1", "y": "-"}, mode="x")
    got = compare(first, second)
    assert (got.benchmark, got.num_problems, got.only_first, got.only_second) == ("sums", 5, 2, 1)
    assert (got.gained, got.lost) == (("b", "c"), ("e",))
    assert (got.first_accuracy, got.second_accuracy) == (pytest.approx(0.4), pytest.approx(0.6))
    assert got.difference == pytest.approx(0.2)
    # changes 0 1 1 0 -1, squares around 0.2: 0.04 0.64 0.64 0.04 1.44, / 4 = 0.7
    assert got.stderr == pytest.approx((0.7 / 5) ** 0.5)
    assert got.mcnemar_p == 1.0  # 2 of 3


def test_the_t_test_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 2, (2, 30, 4)).astype(str)
    rows[1, :10] = "1"
    names = [f"p{i}" for i in range(30)]
    sides = [run(dict(zip(names, map("".join, side), strict=True))) for side in rows]
    shares = rows.astype(float).mean(axis=2)
    expected = stats.ttest_rel(shares[1], shares[0])
    got = compare(*sides)
    assert got.p_value == pytest.approx(expected.pvalue)
    assert got.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert got.difference / got.stderr == pytest.approx(expected.statistic)
    assert got.mcnemar_p is None
    assert len(got.gained) == (shares[1] > shares[0]).sum()
    assert len(got.lost) == (shares[1] < shares[0]).sum()
    back = compare(*sides[::-1])
    assert (back.difference, back.p_value) == pytest.approx((-got.difference, got.p_value))
    assert (back.gained, back.lost) == (got.lost, got.gained)


def test_mcnemar_is_the_binomial() -> None:
    first = {f"p{i}": "1" if i < 12 else "0" for i in range(40)}
    second = {f"p{i}": "1" if 2 <= i < 24 else "0" for i in range(40)}
    got = compare(run(first), run(second))
    assert (len(got.gained), len(got.lost)) == (12, 2)
    # 2 (C(14, 0) + C(14, 1) + C(14, 2)) / 2^14
    assert got.mcnemar_p == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert got.mcnemar_p == pytest.approx(stats.binomtest(12, 14).pvalue)


def test_equal_runs_and_one_problem() -> None:
    same = run({"a": "1", "b": "0"})
    got = compare(same, same)
    assert (got.difference, got.stderr, got.interval, got.p_value) == (0.0, 0.0, None, None)
    assert (got.gained, got.lost, got.mcnemar_p) == ((), (), 1.0)
    alone = compare(run({"a": "1"}), run({"a": "0"}))
    assert (alone.difference, alone.stderr, alone.interval, alone.p_value) == (-1.0, *[None] * 3)


def test_problems_weigh_alike_whatever_their_responses() -> None:
    got = compare(run({"a": "1111", "b": "0"}), run({"a": "10", "b": "1"}))
    assert (got.first_accuracy, got.second_accuracy) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (run({"a": "1"}), run({"a": "1"}, benchmark="more"), "'sums', second of 'more'"),
        (run({"a": "1"}), run({"b": "1"}), "none of the 1 problems .* among the 1 of the second"),
        (run({"a": "1"}), run({"a": "-"}), "among the 0 of the second"),
        ([], run({"a": "1"}), "first has no samples"),
        (run({"a": "1"}), [], "second has no samples"),
    ],
)
def test_what_cannot_be_compared(first: list[Sample], second: list[Sample], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(first, second)


def test_modes_are_not_mixed() -> None:
    mixed = [*run({"a": "1"}), replace(sample(), problem_id="b", mode="no_think")]
    with pytest.raises(UserError, match="first has sums/no_think/after, sums/think/after; allowed"):
        compare(mixed, run({"a": "1"}))
