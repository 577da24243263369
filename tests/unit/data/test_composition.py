"""Selections made of selections: who chooses from what, and how it is told."""

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.composition import ChainSelection, MixtureSelection
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.identity import identity_of
from nt_lightning.data.randomness import seed_of_part
from nt_lightning.data.selections import (
    AgreementSelection,
    LongSelection,
    RandomSelection,
    VerbositySelection,
)
from nt_lightning.data.strategies import StrategySelection
from nt_lightning.errors import UserError

RNG = np.random.default_rng(2)
COUNT = 6_000
AGREE = RNG.random(COUNT) < 0.64
SCORE = RNG.integers(0, 11, COUNT)
TOKENS = RNG.integers(100, 9_000, COUNT)
TABLE = pa.table(
    {
        "id": [f"t{i}" for i in range(COUNT)],
        "models_agree": AGREE,
        "verbosity": SCORE,
        "response_tokens": TOKENS,
    }
)


def test_a_chain_chooses_among_what_is_left():
    chain = ChainSelection(selections=[AgreementSelection(), VerbositySelection(level="high")])
    assert chain.selection_columns == ("models_agree", "verbosity")
    rows, reasons, _ = chain.select(TABLE, 500, 0)
    assert not AGREE[rows].any()
    high = np.sort(SCORE[~AGREE])[::-1][:500]
    assert np.sort(SCORE[rows])[::-1].tolist() == high.tolist()
    named = np.array(reasons.names)[reasons.codes]
    assert set(named[AGREE]) == {"0 AgreementSelection: models agree"}
    assert set(named[~AGREE]) == {f"1 VerbositySelection: verbosity {i}" for i in range(11)}
    assert chain.select(TABLE, 100, 0).rows.tolist() == rows[:100].tolist()


def test_a_part_passes_on_its_own_budget():
    parts = [VerbositySelection(level="low", num_traces=1_000), LongSelection()]
    rows, reasons, _ = ChainSelection(selections=parts).select(TABLE, 300, 0)
    low = VerbositySelection(level="low").select(TABLE, 1_000, seed_of_part(0, 0)).rows
    assert set(rows) < set(low)
    share = np.minimum(1, (TOKENS[rows] / 5000) ** 2.5).mean()  # the parts' draws are independent
    everyone = np.minimum(1, (TOKENS[low] / 5000) ** 2.5)
    assert abs(share - (everyone**2).sum() / everyone.sum()) < 0.06
    counts = reasons.counts()
    long = sum(count for name, count in counts.items() if name.startswith("1 LongSelection"))
    assert long == 1_000
    by_tokens = ChainSelection(selections=[RandomSelection(num_tokens=50_000), LongSelection()])
    assert by_tokens.selection_columns == ("response_tokens",)
    assert TOKENS[by_tokens.select(TABLE, COUNT, 0).rows].sum() <= 50_000


def test_a_mixture_holds_its_shares_and_takes_none_twice():
    half = MixtureSelection(selections=[AgreementSelection(), RandomSelection()], shares=[0.5, 0.5])
    rows, reasons, _ = half.select(TABLE, 1_000, 0)
    assert len(set(rows)) == 1_000
    taken = {name: count for name, count in reasons.counts(rows).items() if count}
    assert taken == {
        "0 AgreementSelection: models disagree": 500,
        "1 RandomSelection: by chance": 500,
    }
    names = np.array(reasons.names)[reasons.codes]
    random = rows[names[rows] == "1 RandomSelection: by chance"]
    gone = 500 / COUNT  # disagreeing ones that the other part has
    assert abs(AGREE[random].mean() - AGREE.mean() / (1 - gone)) < 0.07
    assert half.select(TABLE, 100, 0).rows.tolist() == rows[:100].tolist()


def test_a_mixture_ends_where_a_part_does():
    half = MixtureSelection(
        selections=[AgreementSelection(), AgreementSelection(agree=True)], shares=[0.5, 0.5]
    )
    disagree = int((~AGREE).sum())
    for size in (COUNT, None):
        rows = half.select(TABLE, size, 0).rows
        assert len(rows) in (2 * disagree, 2 * disagree + 1)


def test_compositions_nest():
    inner = ChainSelection(selections=[AgreementSelection(), LongSelection()])
    outer = MixtureSelection(selections=[inner, RandomSelection()], shares=[0.8, 0.2])
    rows, reasons, _ = outer.select(TABLE, 100, 0)
    names = {reasons.names[code] for code in reasons.codes[rows]}
    assert any(name.startswith("0 ChainSelection: 1 LongSelection: ") for name in names)
    changed = MixtureSelection(
        selections=[
            ChainSelection(selections=[AgreementSelection(agree=True), LongSelection()]),
            RandomSelection(),
        ],
        shares=[0.8, 0.2],
    )
    identities = [identity_of(one, TraceDataModule) for one in (outer, changed, inner)]
    assert len(set(map(str, identities))) == 3


def test_parts_of_parts_draw_independently_of_their_neighbours():
    low_and_random = [VerbositySelection(level="low"), RandomSelection()]
    inner = MixtureSelection(selections=low_and_random, shares=[0.5, 0.5], num_traces=1_000)
    rows, _, _ = ChainSelection(selections=[inner, RandomSelection()]).select(TABLE, 300, 0)
    low = VerbositySelection(level="low").select(TABLE, 400, 0)
    assert 0.35 < (SCORE[rows] <= SCORE[low.rows].max()).mean() < 0.75


def test_equal_parts_are_told_apart():
    parts = [VerbositySelection(level="low"), VerbositySelection(level="high")]
    mixed = MixtureSelection(selections=parts, shares=[0.5, 0.5])
    rows, reasons, _ = mixed.select(TABLE, 1_000, 0)
    assert sum(reasons.counts(rows).values()) == 1_000
    assert sum(reasons.counts().values()) == COUNT
    assert reasons.counts(rows)["0 VerbositySelection: verbosity 0"] > 0
    assert reasons.counts(rows)["1 VerbositySelection: verbosity 10"] > 0


def test_a_shortage_names_the_step_that_caused_it():
    said = r"selections.0 \(RandomSelection\): num_traces is 9000; allowed: at most 6000, all 6000"
    with pytest.raises(UserError, match=said):
        ChainSelection(
            selections=[RandomSelection(num_traces=9_000), LongSelection()]
        ).select(TABLE, 10, 0)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: ChainSelection(selections=[RandomSelection()]), "data.selections has 1; allowed"),
        (
            lambda: ChainSelection(selections=[RandomSelection("a"), RandomSelection()]),
            "data.selections.0.pool is given",
        ),
        (
            lambda: ChainSelection(selections=[RandomSelection(), RandomSelection(num_traces=3)]),
            "data.selections.1 has a budget",
        ),
        (
            lambda: ChainSelection(selections=[RandomSelection(seed=3), RandomSelection()]),
            "data.selections.0.seed is 3",
        ),
        (
            lambda: ChainSelection(
                selections=[RandomSelection(system_prompt="hi"), RandomSelection()]
            ),
            "data.selections.0.system_prompt is 'hi'",
        ),
        (
            lambda: MixtureSelection(
                selections=[RandomSelection(num_traces=2), RandomSelection()], shares=[0.5, 0.5]
            ),
            "data.selections.0 has a budget",
        ),
        (
            lambda: MixtureSelection(
                selections=[RandomSelection(), StrategySelection()], shares=[0.5, 0.6]
            ),
            r"data.shares is \[0.5, 0.6\]; allowed: 2 positive numbers that add up to 1",
        ),
        (
            lambda: MixtureSelection(selections=[RandomSelection(), RandomSelection()], shares=[1]),
            r"data.shares is \[1\]",
        ),
    ],
)
def test_parts_that_do_not_fit(make, wrong):
    with pytest.raises(UserError, match=wrong):
        make()
