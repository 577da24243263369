"""A choice beside its controls: by hand, by brute force, and where teachers differ alone."""

import itertools

import numpy as np
import pytest

from nt_lightning.data.response_controls import (
    Candidates,
    best_teacher,
    response_controls,
    stratified,
)
from nt_lightning.data.scored import best_of
from nt_lightning.traces.scores import Ratio

RNG = np.random.default_rng(4)


def candidates(prompts, teachers, better, **others):
    count = len(prompts)
    better = np.asarray(better, dtype=float)
    values = {
        "names": [f"t{n}" for n in range(max(teachers) + 1)],
        "ratio": Ratio(better, np.ones(count)),
        "tokens": np.arange(count, dtype=float),
        "step_tokens": np.full(count, 5.0),
        "luck": RNG.random(count),
        **others,
    }
    return Candidates(np.asarray(prompts), np.asarray(teachers), **values)


def full(better):
    """Every teacher answers every question; scores [P, K]."""
    count, teachers = better.shape
    return candidates(
        np.repeat(np.arange(count), teachers), np.tile(np.arange(teachers), count), better.ravel()
    )


def chosen_by(found):
    return best_of(found.prompts, found.better, found.luck)


def by_name(report):
    return {one["name"]: one for one in report["controls"]}


def test_the_best_of_each_question_and_ties_by_luck():
    prompts, keys = np.array([0, 0, 1, 1, 1, 5]), np.array([1.0, 2, 7, 7, 3, 0])
    assert best_of(prompts, keys, np.array([0, 0, 0.9, 0.2, 0, 0])).tolist() == [1, 3, 5]
    assert best_of(prompts, keys, np.array([0, 0, 0.1, 0.2, 0, 0])).tolist() == [1, 2, 5]
    order = np.array([4, 2, 0, 5, 1, 3])
    luck = np.array([0, 0, 0.1, 0.2, 0, 0])
    again = best_of(prompts[order], keys[order], luck[order])
    assert order[again].tolist() == [1, 2, 5]
    assert best_of(prompts[:0], keys[:0], luck[:0]).tolist() == []


def test_numbers_by_hand():
    """Two teachers, three questions; t1 has not answered the last one."""
    found = candidates(
        prompts=[0, 0, 1, 1, 2],
        teachers=[0, 1, 0, 1, 0],
        better=[-1.0, -2.0, -3.0, -1.0, -5.0],
        tokens=np.array([10.0, 30, 40, 20, 60]),
        step_tokens=np.array([2.0, 4, 6, 8, 10]),
        luck=np.array([0.5, 0.1, 0.2, 0.6, 0.0]),
    )
    report = response_controls(found, chosen_by(found))
    controls = by_name(report)
    names = ["selection", "stratified", "random", "longest", "shortest", "best teacher: t1"]
    assert list(controls) == names
    assert controls["selection"] == {
        "name": "selection",
        "questions": 3,
        "teachers": {"t0": 0.666667, "t1": 0.333333},
        "mean_score": round((-1 - 1 - 5) / 3, 6),
        "mean_tokens": 30.0,
        "tokens_per_step": round((2 + 8 + 10) / 3, 6),
        "overlap": 1.0,
    }
    assert controls["longest"]["mean_tokens"] == round((30 + 40 + 60) / 3, 6)
    assert controls["shortest"]["mean_tokens"] == 30.0
    best = controls["best teacher: t1"]  # -1.5 against -2 over the questions of both
    assert (best["questions"], best["overlap"], best["mean_score"]) == (2, 0.5, -1.5)
    # the smallest key wins by luck: t1's -2, t0's -3 and the last one
    assert controls["random"]["mean_score"] in (round(x / 3, 6) for x in (-10, -9, -8, -7))


def test_the_other_sign_and_the_ratio_of_sums():
    found = candidates([0, 0, 1], [0, 1, 0], [0, 0, 0])
    found = found._replace(ratio=Ratio(np.array([-4.0, -9, -20]), np.array([2.0, 3, 100])))
    report = response_controls(found, chosen_by(found), sign=-1)
    selection = by_name(report)["selection"]
    assert selection["mean_score"] == round(24 / 102, 6)
    assert report["gain"]["total"] >= 0


def test_stratified_has_the_highest_total_with_the_shares_held():
    """Against all 3^6 choices."""
    for seed in range(20):
        better = np.random.default_rng(seed).normal(size=(6, 3)) + [2, 0, -1]
        found = full(better)
        places = stratified(found)
        assert np.bincount(found.teachers[places]).tolist() == [2, 2, 2]
        allowed = (
            sum(better[line, teacher] for line, teacher in enumerate(choice))
            for choice in itertools.product(range(3), repeat=6)
            if sorted(choice) == [0, 0, 1, 1, 2, 2]
        )
        assert found.better[places].sum() == pytest.approx(max(allowed))


def test_stratified_holds_shares_that_a_mean_alone_would_not():
    """One teacher's scores are higher and spread ten times more: centred it would still win."""
    better = RNG.normal(size=(3_000, 4)) * [10, 1, 1, 1] + [5, 0, 0, 3]
    found = full(better)
    shares = np.bincount(found.teachers[stratified(found)]) / 3_000
    np.testing.assert_allclose(shares, 0.25, atol=0.002)
    centred = best_of(found.prompts, found.better - better.mean(0)[found.teachers], found.luck)
    assert np.bincount(found.teachers[centred])[0] / 3_000 > 0.4


def test_stratified_where_teachers_have_not_answered_all():
    """Shares are those that a choice by chance has."""
    there = RNG.random((2_000, 3)) < [1.0, 0.5, 0.1]
    prompts, teachers = np.nonzero(there)
    better = RNG.normal(size=len(prompts)) + np.array([0, 4, 8])[teachers]
    found = candidates(prompts, teachers, better)
    expected = (there / there.sum(1, keepdims=True)).sum(0)
    counts = np.bincount(teachers[stratified(found)], minlength=3)
    np.testing.assert_allclose(counts, expected, atol=2)


def test_several_responses_of_a_teacher_compete_among_themselves():
    found = candidates([0, 0, 1, 1], [0, 0, 0, 0], [1, 2, 4, 3])
    assert stratified(found).tolist() == [1, 2]
    (name,) = {one for one in by_name(response_controls(found, chosen_by(found))) if ":" in one}
    assert name == "best teacher: t0"


def test_the_gain_tells_teachers_from_responses():
    """Where only the teacher matters nothing is left; where only the response does, all is."""
    noise = RNG.normal(size=(2_000, 2))
    teacher_alone = full(1e-3 * noise + [1, 0])
    gain = response_controls(teacher_alone, chosen_by(teacher_alone))["gain"]
    assert gain["total"] == pytest.approx(0.5, abs=0.05)
    assert abs(gain["with_shares_held"]) < 0.05
    response_alone = full(noise)
    gain = response_controls(response_alone, chosen_by(response_alone))["gain"]
    assert gain["with_shares_held"] == pytest.approx(gain["total"], rel=0.05)


def test_the_best_teacher_over_common_questions_or_its_own():
    """t1 looks better over its own easy question, and is worse where both are."""
    common = candidates([0, 0, 1, 2], [0, 1, 0, 1], [-3, -4, -9, -1])
    assert best_teacher(common) == 0
    apart = candidates([0, 1, 2], [0, 1, 1], [-3, -1, -2])
    assert best_teacher(apart) == 1
    absent = candidates([0, 1], [2, 2], [1, 2])  # the names of others are known
    assert best_teacher(absent) == 2


def test_order_does_not_matter():
    better = RNG.normal(size=(50, 3))
    found = full(better)
    order = RNG.permutation(len(found.prompts))
    parts = {
        name: getattr(found, name)[order]
        for name in ("prompts", "teachers", "tokens", "step_tokens", "luck")
    }
    shuffled = found._replace(ratio=Ratio(*(part[order] for part in found.ratio)), **parts)
    one, two = (response_controls(each, chosen_by(each)) for each in (found, shuffled))
    assert one == two
