"""Each selection's outcome against its rule, on pools with known proportions."""

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.assemble import pick
from nt_lightning.data.composition import ChainSelection, MixtureSelection
from nt_lightning.data.filters import Filters
from nt_lightning.data.selections import (
    AgreementSelection,
    LongSelection,
    RandomSelection,
    ShortReferenceSelection,
    TopicSelection,
    VerbositySelection,
)
from nt_lightning.data.strategies import StrategySelection
from nt_lightning.errors import UserError
from nt_lightning.pool.embedded import EmbeddedPool
from nt_lightning.traces.pool import write_pool

RNG = np.random.default_rng(1)
COUNT = 10_000


def columns(count=COUNT, **values):
    return pa.table({"id": [f"trace-{i}" for i in range(count)], **values})


def strategies(count):
    return [f"s{i}" for i in range(count)] * 2  # each twice: different ones count


SETS = [strategies(int(n)) for n in RNG.integers(1, 12, COUNT)]
TABLES = {
    RandomSelection: {},
    TopicSelection: {"domain": [f"d{i % 7}" for i in range(COUNT)]},
    LongSelection: {"response_tokens": RNG.integers(1, 16_000, COUNT)},
    VerbositySelection: {"verbosity": RNG.integers(0, 11, COUNT)},
    StrategySelection: {"reasoning_strategies": SETS, "num_steps": RNG.integers(1, 60, COUNT)},
    AgreementSelection: {"models_agree": RNG.random(COUNT) < 0.64},
    ShortReferenceSelection: {
        "reference_answer": [" ".join(["word"] * int(n)) for n in RNG.integers(0, 9, COUNT)]
    },
}


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_the_same_for_any_order_and_shards_and_nested(kind):
    data, table = kind(), columns(**TABLES[kind])
    small, reasons, _ = data.select(table, 500, 3)
    assert len(small) == len(set(small)) == 500
    assert small.tolist() == data.select(table, 2_000, 3).rows[:500].tolist()
    assert set(small) != set(data.select(table, 500, 4).rows)
    kept = data.select(table, None, 3).rows
    assert len(kept) == len(set(kept)) >= 500
    assert sum(reasons.counts().values()) == COUNT
    assert sum(reasons.counts(small).values()) == 500
    order = RNG.permutation(COUNT)
    shuffled = table.take(pa.array(order))
    shards = pa.concat_tables([shuffled.slice(0, 999), shuffled.slice(999)])
    again, turned, _ = data.select(shards, 500, 3)
    assert order[again].tolist() == small.tolist()
    assert turned.names == reasons.names
    assert turned.codes.tolist() == reasons.codes[order].tolist()


def test_topics_are_even_and_small_ones_give_all():
    sizes = {"a": 5_000, "b": 3_000, "c": 40, None: 100}
    domain = [name for name, count in sizes.items() for _ in range(count)]
    rows = TopicSelection().select(columns(len(domain), domain=domain), 1_040, 0).rows
    taken = [domain[row] for row in rows]
    assert {name: taken.count(name) for name in sizes} == {"a": 500, "b": 500, "c": 40, None: 0}


def test_long_is_kept_in_proportion():
    tokens = RNG.integers(500, 12_000, 100_000)
    rows = LongSelection().select(columns(100_000, response_tokens=tokens), 1_000, 0).rows
    expected = np.minimum(1, (tokens / 5000) ** 2.5)
    expected *= 1_000 / expected.sum()
    bins = np.digitize(tokens, [1500, 2500, 3500, 5000, 8000])
    for number in range(6):
        want = expected[bins == number].sum()
        got = (bins[rows] == number).sum()
        assert abs(got - want) < 4 * want**0.5 + 0.01 * want


@pytest.mark.parametrize(
    ("level", "order"),
    [("low", [0, 1, 2]), ("high", [10, 9, 8]), ("medium", [5, (4, 6), (3, 7)])],
)
def test_verbosity_from_its_end_inwards(level, order):
    score = np.repeat(np.arange(11), 100)
    data = VerbositySelection(level=level)
    rows = data.select(columns(1_100, verbosity=score), 250, 0).rows
    allowed = np.concatenate([np.atleast_1d(scores) for scores in order])
    taken = np.bincount(score[rows], minlength=11)
    assert taken[order[0]] == 100
    if level == "medium":
        assert taken[4] + taken[6] == 150
    else:
        assert taken[order[1]] == 100
        assert taken[order[2]] == 50
    assert set(score[rows]) <= set(allowed)


def test_strategies_are_down_sampled_by_each_reason(caplog):
    """Half as few strategies, a sixth too many, the rest kept; none or all thinly spread."""
    number = np.array([3, 4, 5, 8, 9, 2] * 6_000)
    sets = [strategies(int(n)) for n in number]
    steps = number * np.where(np.arange(len(number)) % 5 == 0, 10, 2)
    data = StrategySelection(low_density=0.3)
    table = columns(len(number), reasoning_strategies=sets, num_steps=steps)
    with caplog.at_level(logging.WARNING):
        rows = data.select(table, 1_000, 0).rows
    assert caplog.messages == []
    outside = (number <= 4) | (number > 8)
    density = number / steps
    low = density < np.quantile(density, 0.3)
    weights = np.where(outside, 0.1, 1.0) * np.where(low, 0.1, 1.0)
    for group in np.unique(weights):
        want = 1_000 * weights[weights == group].sum() / weights.sum()
        got = (weights[rows] == group).sum()
        assert abs(got - want) < 4 * want**0.5 + 0.02 * want


def test_a_rule_that_hits_nearly_all_is_reported(caplog):
    sets = [strategies(2)] * 50
    with caplog.at_level(logging.WARNING):
        table = columns(50, reasoning_strategies=sets, num_steps=[4] * 50)
        StrategySelection().select(table, 5, 0)
    assert caplog.messages[0] == "at most 4 strategies: 100.0 % of the candidates"


@pytest.mark.parametrize("agree", [True, False])
def test_one_side_alone(agree):
    verdicts = [True, False, None] * 100
    data = AgreementSelection(agree=agree)
    rows, reasons, _ = data.select(columns(300, models_agree=verdicts), 100, 0)
    assert {verdicts[row] for row in rows} == {agree}
    everything = {"no models_agree": 100, "models agree": 100, "models disagree": 100}
    assert reasons.counts() == everything
    assert len(data.select(columns(300, models_agree=verdicts), 101, 0).rows) == 100
    assert len(data.select(columns(300, models_agree=verdicts), None, 0).rows) == 100


def test_shortest_references_that_are_not_empty():
    answers = ["", None, "42", " x = 3 ", "one", "two words", "  "]
    data = ShortReferenceSelection()
    table = columns(7, reference_answer=answers)
    assert set(data.select(table, 2, 0).rows) == {2, 4}
    rows, reasons, _ = data.select(table, 7, 0)
    assert set(rows[:2]) == {2, 4}
    assert rows[2:].tolist() == [5, 3]
    assert reasons.counts()["no reference_answer"] == 3


def test_without_a_size_long_thins_independently():
    tokens = RNG.integers(500, 12_000, 50_000)
    rows = LongSelection().select(columns(50_000, response_tokens=tokens), None, 0).rows
    chance = np.minimum(1, (tokens / 5000) ** 2.5)
    bins = np.digitize(tokens, [1500, 2500, 3500, 5000])
    for number in range(5):
        own = chance[bins == number]
        got, want = (bins[rows] == number).sum(), own.sum()
        assert abs(got - want) <= 4 * (own * (1 - own)).sum() ** 0.5


@pytest.mark.parametrize(
    ("kind", "column", "kind_of_null"),
    [
        (TopicSelection, "domain", pa.string()),
        (LongSelection, "response_tokens", pa.int64()),
        (VerbositySelection, "verbosity", pa.int64()),
        (ShortReferenceSelection, "reference_answer", pa.string()),
        (AgreementSelection, "models_agree", pa.bool_()),
        (StrategySelection, "reasoning_strategies", pa.list_(pa.string())),
    ],
)
def test_a_column_of_nulls_gives_nothing_and_says_why(kind, column, kind_of_null):
    steps = {"num_steps": [3] * 5} if kind is StrategySelection else {}
    table = columns(5, **{column: pa.nulls(5, kind_of_null)}, **steps)
    for size in (1, 5, None):
        rows, reasons, _ = kind().select(table, size, 0)
        assert len(rows) == 0
        assert reasons.counts()[f"no {column}"] == 5


def test_unknown_steps_are_not_thin(caplog):
    sets = [strategies(5)] * 40
    steps = pa.array([None] * 20 + [5] * 10 + [50] * 10, pa.int64())
    table = columns(40, reasoning_strategies=sets, num_steps=steps)
    reasons = StrategySelection(low_density=0.5).select(table, 10, 0).reasons
    counts = {name: count for name, count in reasons.counts().items() if count}
    assert counts == {"low density": 10, "diverse": 30}


def test_a_score_outside_its_scale_is_named():
    with pytest.raises(UserError, match="verbosity is 11 in a trace; allowed: 0 to 10"):
        VerbositySelection().select(columns(3, verbosity=[1, 11, 2]), 1, 0)


def test_medium_says_that_it_widens(caplog):
    score = np.repeat(np.arange(11), 10)
    with caplog.at_level(logging.WARNING):
        VerbositySelection(level="medium").select(columns(110, verbosity=score), 10, 0)
        assert caplog.messages == []
        VerbositySelection(level="medium").select(columns(110, verbosity=score), 40, 0)
    assert caplog.messages == [
        "medium verbosity: 10 traces have score 5, so scores 5 +- 2 are taken"
    ]


@pytest.mark.parametrize("bad", [{"down_weight": 0.0}, {"low_density": 1.0}, {"min_strategies": 9}])
def test_arguments_out_of_range(bad):
    with pytest.raises(UserError, match=f"data.{next(iter(bad))} is"):
        StrategySelection(**bad)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """One pool in three layouts: in one piece, in many shards, in another order of the rows."""
    folder = tmp_path_factory.mktemp("layouts")
    table = EmbeddedPool(num_questions=160).make()
    order = pa.array(np.random.default_rng(1).permutation(table.num_rows))
    return [
        write_pool(table, folder / "whole", {}),
        write_pool(table, folder / "shards", {}, rows_per_shard=37),
        write_pool(table.take(order), folder / "turned", {}, rows_per_shard=100),
    ]


@pytest.mark.parametrize(
    "data",
    [
        RandomSelection(num_traces=50, num_val=7),
        TopicSelection(num_traces=50, num_val=7),
        LongSelection(num_tokens=1_500),
        VerbositySelection(level="high", num_traces=50),
        StrategySelection(min_strategies=1, max_strategies=3, num_traces=50),
        AgreementSelection(),
        ShortReferenceSelection(num_traces=50, filters=Filters(min_tokens=20)),
        ChainSelection(selections=[AgreementSelection(), LongSelection()], num_traces=20),
        MixtureSelection(
            selections=[AgreementSelection(), RandomSelection()], shares=[0.5, 0.5], num_traces=50
        ),
    ],
    ids=lambda data: type(data).__name__,
)
def test_the_layout_of_a_pool_does_not_matter(layouts, data):
    wanted = replace(data.wanted, teachers=("step_by_step", "terse"))
    found = []
    for pool in layouts:
        picked = pick(pool, wanted, data)
        ids = pool.read(["id"])["id"].take(pa.array(picked.rows))
        parts = (picked.chosen.train, picked.chosen.val)
        found.append([sorted(ids.take(pa.array(rows)).to_pylist()) for rows in parts])
    assert found[0] == found[1] == found[2]
    assert found[0][0]
