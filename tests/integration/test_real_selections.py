"""Selections on real traces: strategies from real labels, real disagreement of two models.

Every expectation is counted here in plain Python from the raw JSON, or written down by hand.
"""

from collections import Counter
from statistics import median

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.budget import Budget
from nt_lightning.data.choose import choose
from nt_lightning.data.filters import Filters
from nt_lightning.data.selections import AgreementSelection
from nt_lightning.data.strategies import StrategySelection
from nt_lightning.traces.adapters import read_jsonl
from nt_lightning.traces.pool import write_pool
from tests.integration.real_data import (
    LLAMA,
    R1,
    RIGHT,
    json_lines,
    real_file,
    reasoning_gym_records,
    reply_of,
)

# -- strategies ------------------------------------------------------------------------------------

# Responses that were cut off in their reasoning, and two that are an error message.
LEFT_OUT = {
    "aime2024_17_DeepSeek-R1": "<think> is never closed",
    "aime2024_20_DeepSeek-R1": "<think> is never closed",
    "aime2024_4_QwQ-32B": "QwQ-32B thinks",
    "aime2024_5_QwQ-32B": "QwQ-32B thinks",
    "aime2024_17_QwQ-32B": "QwQ-32B thinks",
    "aime2024_21_QwQ-32B": "QwQ-32B thinks",
    "aime2024_25_QwQ-32B": "QwQ-32B thinks",
    "aime2024_6_gpt-oss-120b": "gpt-oss-120b thinks",
    "aime2024_25_gpt-oss-120b": "gpt-oss-120b thinks",
}
# Traces with each number of different strategies, 0 to 11.
NUM_STRATEGIES = {
    "aime2024": [1, 4, 15, 10, 6, 12, 4, 8, 13, 12, 22, 8],
    "argkp": [1, 2, 21, 22, 31, 19, 13, 6, 5, 7, 0, 0],
}


def annotated_file(name):
    return real_file("reasoningflow", f"annotations_{name}.jsonl.gz")


def read_annotated(name, tmp_path):
    path = annotated_file(name)
    return read_jsonl(path, on_bad_row="skip", quarantine=tmp_path / f"{name}.jsonl")


def counted_by_hand(row):
    """Different strategies and steps in front of ``</think>``, or everywhere without one."""
    close = row["response"].find("</think>")
    close = len(row["response"]) if close < 0 else close
    thought = row["response"][:close].replace("<think>", " " * len("<think>"))
    steps = {
        node["id"]
        for node in row["nodes"]
        if node["source"] == "response" and thought[node["start"] : node["end"]].strip()
    }
    labels = {edge["label"] for edge in row["edges"] if edge["dest_node_id"] in steps}
    plain = {"reason:infer", "reason:execute", "plan:proceed"}
    misspelt = {"reasoning:infer", "reasoning:execute"}
    nameless = {"", "context", "reasoning"}
    return labels - plain - misspelt - nameless, len(steps)


@pytest.mark.parametrize("name", ["aime2024", "argkp"])
def test_all_annotated_traces_but_the_cut_off_ones_come_through(name, tmp_path):
    raw = json_lines(annotated_file(name))
    assert len(raw) == {"aime2024": 124, "argkp": 127}[name]
    ids = set(read_annotated(name, tmp_path)["id"].to_pylist())
    missing = [row for row in raw if row["_path"][5:-5] not in ids]
    assert {row["doc_id"] for row in missing} == (set(LEFT_OUT) if name == "aime2024" else set())
    assert len(missing) + len(ids) == len(raw)
    if missing:
        reasons = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        for row, reason in zip(missing, reasons, strict=True):
            assert LEFT_OUT[row["doc_id"]] in reason
            assert "</think>" not in row["response"]


@pytest.mark.parametrize("name", ["aime2024", "argkp"])
def test_strategies_and_steps_are_those_of_the_annotation(name, tmp_path):
    raw = {row["_path"][5:-5]: row for row in json_lines(annotated_file(name))}
    rows = read_annotated(name, tmp_path).to_pylist()
    for row in rows:
        source = raw[row["id"]]
        strategies, steps = counted_by_hand(source)
        assert row["reasoning_strategies"] == sorted(strategies), row["id"]
        assert row["num_steps"] == steps, row["id"]
        assert row["teacher"] == source["metadata"]["generator"]
        assert bool(row["reasoning"]) == ("</think>" in source["response"])
    sizes = Counter(len(row["reasoning_strategies"]) for row in rows)
    assert [sizes[size] for size in range(12)] == NUM_STRATEGIES[name]
    steps = [row["num_steps"] for row in rows]
    expected = {"aime2024": (10, 139, 884), "argkp": (1, 32, 140)}[name]
    assert (min(steps), median(steps), max(steps)) == expected
    assert sum(row["annotation"] == "v1_human_D" for row in rows) == 10


@pytest.mark.parametrize(
    ("name", "report"),
    [
        (
            "aime2024",
            "kept as strategies: 'validate:refute' 1, 'logic:premise' 1; left out, since no family "
            "is named: '' 2, 'context' 1, 'reasoning' 1",
        ),
        (
            "argkp",
            "kept as strategies: 'reason:elaborate' 1; left out, since no family is named: none",
        ),
    ],
)
def test_odd_labels_are_reported(name, report, tmp_path, caplog):
    read_annotated(name, tmp_path)
    (told,) = (message for message in caplog.messages if "out of the vocabulary" in message)
    assert told.endswith(report)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotated")
    tables = [read_annotated(name, folder) for name in ("aime2024", "argkp")]
    return pa.concat_tables(tables, promote_options="default")


def hits_by_hand(table):
    """Names of the rules that hit each trace, with the bounds 4 and 8 and the lowest quarter."""
    pairs = [(len(set(row["reasoning_strategies"])), row["num_steps"]) for row in table.to_pylist()]
    density = [number / steps for number, steps in pairs]
    ordered = sorted(density)  # of 242: a quarter of the way lies behind the 61st
    edge = ordered[60] + 0.25 * (ordered[61] - ordered[60])
    return [
        [
            name
            for name, hit in (
                ("at most 4 strategies", number <= 4),
                ("more than 8 strategies", number > 8),
                ("low density", dense < edge),
            )
            if hit
        ]
        for (number, _), dense in zip(pairs, density, strict=True)
    ]


def test_strategy_rules_hit_what_a_count_by_hand_says(annotated):
    by_hand = hits_by_hand(annotated)
    expected = Counter(", ".join(names) or "diverse" for names in by_hand)
    selected = StrategySelection(min_strategies=4, max_strategies=8).select(annotated, None, 0)
    counts = {name: count for name, count in selected.reasons.counts().items() if count}
    assert counts == expected
    assert counts == {
        "at most 4 strategies": 103,
        "at most 4 strategies, low density": 10,
        "diverse": 61,
        "low density": 19,
        "more than 8 strategies": 17,
        "more than 8 strategies, low density": 32,
    }


def test_strategy_selections_are_nested(annotated):
    taken = [StrategySelection().select(annotated, size, 3).rows for size in (20, 60, 121, 242)]
    assert [len(rows) for rows in taken] == [20, 60, 121, 242]
    for small, large in zip(taken, taken[1:], strict=False):
        assert set(small) < set(large)
    turned = annotated.take(pa.array(range(241, -1, -1)))
    again = StrategySelection().select(turned, 20, 3).rows
    assert set(turned["id"].take(pa.array(again)).to_pylist()) == set(
        annotated["id"].take(pa.array(taken[0])).to_pylist()
    )


def test_strategy_weights_hold(annotated):
    """A trace is kept with probability 0.1 for each rule that hits it; drawn in proportion."""
    number = np.array([len(names) for names in hits_by_hand(annotated)])
    kept, first = np.zeros(len(number)), Counter()
    seeds = 600
    for seed in range(seeds):
        kept[StrategySelection().select(annotated, None, seed).rows] += 1
        first[int(number[StrategySelection().select(annotated, 1, seed).rows[0]])] += 1
    assert (kept[number == 0] == seeds).all()
    assert kept[number == 1].mean() / seeds == pytest.approx(0.1, abs=0.005)  # 4 errors
    assert kept[number == 2].mean() / seeds == pytest.approx(0.01, abs=0.0025)
    mass = [(number == hits).sum() * 0.1**hits for hits in range(3)]
    assert first[0] / seeds == pytest.approx(mass[0] / sum(mass), abs=0.065)  # 4 errors


# -- disagreement ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gym():
    return json_lines(real_file("reasoning_gym_eval", "easy_4models.jsonl.gz"))


@pytest.fixture(scope="module")
def pool(gym, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gym") / "pool"
    return write_pool(reasoning_gym_records(gym), folder, {"command": "test"})


def id_of(row):
    return f"{row['dataset']}-{row['index']}"


def is_right(row, model):
    return float(reply_of(row, model)["score"]) >= RIGHT


def ids_of(table, rows):
    return set(table["id"].take(pa.array(rows)).to_pylist())


def test_recorded_correctness_differs_on_1668_of_3550(gym):
    pairs = Counter((is_right(row, R1), is_right(row, LLAMA)) for row in gym)
    assert pairs[True, False] + pairs[False, True] == 1668
    assert pairs.total() == 3550
    assert pairs[True, True] + pairs[True, False] == 2639


def hand_verdict(row, claimed):
    """How a pair of answers can be compared by hand, and whether they are the same.

    ``tagged``: by the answers that the benchmark recorded. ``bare``: one has no tags and announces
    nothing, so its text is its answer. ``prose``: one announces its answer in prose; whether R1's
    stands at the end of Llama's text is looked at where they are claimed to be the same.
    """
    first, second = (reply_of(row, model) for model in (R1, LLAMA))
    if first["answer"] is not None and second["answer"] is not None:
        return "tagged", first["answer"].lower().split() == second["answer"].lower().split()
    texts = [reply["response"].lower().replace("</answer>", "") for reply in (first, second)]
    one, other = (text.split("<answer>")[-1].split() for text in texts)
    untagged = " ".join(text for text in texts if "<answer>" not in text)
    if not any(mark in untagged for mark in ("answer", "boxed", "fbox", "####")):
        return "bare", one == other
    ending = "".join(other)[-len("".join(one)) - 40 :]
    return "prose", claimed and "".join(one) in ending


def test_answers_differ_on_two_thirds(gym, pool):
    verdicts = dict(zip(*pool.read(["id", "models_agree"]).to_pydict().values(), strict=True))
    silent = {id_of(row) for row in gym if not reply_of(row, R1)["response"].strip()}
    assert len(silent) == 129  # R1 gave no text, so there is no trace
    assert set(verdicts) == {id_of(row) for row in gym} - silent
    assert Counter(verdicts.values()) == {False: 2178, True: 1235, None: 8}  # 64 % differ

    checked = Counter()
    for row in gym:
        claimed = verdicts.get(id_of(row))
        if claimed is not None:
            kind, same = hand_verdict(row, claimed)
            assert same == claimed, (id_of(row), kind)
            checked[kind, same] += 1
    assert checked == {
        ("tagged", False): 1362,
        ("tagged", True): 936,
        ("bare", False): 605,
        ("bare", True): 185,
        ("prose", False): 211,
        ("prose", True): 114,
    }


def test_agreement_and_correctness_are_two_splits(gym, pool):
    """Cross table of R1's and Llama's correctness and of their answers."""
    rows = pool.read(["models_agree", "correct", "second_correct"]).to_pylist()
    cells = Counter((row["models_agree"], row["correct"], row["second_correct"]) for row in rows)
    assert {cell: count for cell, count in cells.items() if cell[0] is not None} == {
        (False, True, False): 1333,
        (False, False, True): 45,
        (False, True, True): 184,  # several answers are right, or one is written in two ways
        (False, False, False): 616,
        (True, True, True): 845,
        (True, False, False): 115,
        (True, True, False): 273,  # the same answer, without the tags that the score asks for
        (True, False, True): 2,
    }
    differing = sum(n for (_, first, second), n in cells.items() if first != second)
    silent = [row for row in gym if not reply_of(row, R1)["response"].strip()]
    assert differing + sum(is_right(row, R1) != is_right(row, LLAMA) for row in silent) == 1668


@pytest.mark.parametrize(("agree", "count"), [(False, 2178), (True, 1235)])
def test_a_side_is_that_side_and_all_of_it(pool, agree, count):
    table = pool.read()
    of_side = {row["id"] for row in table.to_pylist() if row["models_agree"] is agree}
    assert len(of_side) == count
    select = AgreementSelection(agree=agree).select
    everything = choose(table, select, Budget(None), num_val=0, seed=0)
    assert ids_of(table, everything.train) == of_side
    counts = everything.reasons.counts()
    assert {name: number for name, number in counts.items() if number} == {
        "no models_agree": 8,
        "models agree": 1235,
        "models disagree": 2178,
    }
    small, large = (choose(table, select, Budget(n), num_val=0, seed=1) for n in (100, 500))
    assert ids_of(table, small.train) < ids_of(table, large.train) < of_side


def test_only_correct_ones_and_then_a_side(gym, pool):
    filtered = Filters(correct=True).apply(pool)
    table = pool.read()
    right = {id_of(row) for row in gym if is_right(row, R1)}
    assert ids_of(table, filtered.rows) == right
    assert filtered.dropped == {"not correct": 3421 - 2639}
    left = table.take(pa.array(filtered.rows))
    sides = {}
    for agree in (False, True):
        select = AgreementSelection(agree=agree).select
        sides[agree] = ids_of(left, choose(left, select, Budget(None), num_val=0, seed=0).train)
        by_hand = {row["id"] for row in table.to_pylist() if row["models_agree"] is agree}
        assert sides[agree] == by_hand & right
    assert (len(sides[False]), len(sides[True])) == (1333 + 184, 845 + 273)
