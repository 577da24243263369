"""Mixing: shares, determinism per id, and the difficulty rule by hand."""

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.mixing import ADAPTIVE_CODE, NO_THINK_CODE, THINK_CODE, Mixing
from nt_lightning.errors import UserError


def table(count, **columns):
    return pa.table({"id": [f"t{i}" for i in range(count)], **columns})


def test_all_and_none():
    assert (Mixing("none").mode_codes(table(50), 0) == NO_THINK_CODE).all()
    assert (Mixing("all", adaptive_share=0).mode_codes(table(50), 0) == THINK_CODE).all()
    assert (Mixing("all", adaptive_share=1).mode_codes(table(50), 0) == ADAPTIVE_CODE).all()


def test_difficulty_is_system2_iff_the_models_disagree():
    agree = [True, False, False, True]
    codes = Mixing("difficulty").mode_codes(table(4, models_agree=agree), 0)
    assert (codes == NO_THINK_CODE).tolist() == agree


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_random_share(share):
    codes = Mixing("random", system2_share=share).mode_codes(table(20_000), 1)
    system2 = codes != NO_THINK_CODE
    assert abs(system2.mean() - share) < 4 * np.sqrt(share * (1 - share) / 20_000)
    assert abs((codes[system2] == ADAPTIVE_CODE).mean() - 0.5) < 0.03


def test_outcome_depends_on_seed_and_id_alone():
    mixing = Mixing("random", system2_share=0.5)
    whole = mixing.mode_codes(table(1000), 7)
    turned = mixing.mode_codes(table(1000).take(pa.array(range(999, -1, -1))), 7)
    assert (whole == turned[::-1]).all()
    assert (whole[100:200] == mixing.mode_codes(table(1000).slice(100, 100), 7)).all()
    assert (whole != mixing.mode_codes(table(1000), 8)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system2": "some"}, "allowed: all, none, random, difficulty"),
        ({"system2": "random"}, "system2_share is None"),
        ({"system2": "random", "system2_share": 1.2}, "allowed: 0 to 1"),
        ({"adaptive_share": -0.1}, "allowed: 0 to 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        Mixing(**arguments)


def test_difficulty_needs_the_verdict():
    with pytest.raises(UserError, match="needs the column 'models_agree'"):
        Mixing("difficulty").mode_codes(table(3), 0)
    with pytest.raises(UserError, match="null in 1 of 3 traces, first t1"):
        Mixing("difficulty").mode_codes(table(3, models_agree=[True, None, False]), 0)


def test_a_share_means_nothing_under_the_other_rules():
    assert Mixing("all", system2_share=0.4) == Mixing("all")
