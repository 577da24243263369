"""The pool as a whole: rows, annotations, verification, determinism, lineage, messages."""

from __future__ import annotations

import json
import logging
import random
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

import nt_lightning.pool.embedded.pool as module
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract
from nt_lightning.pool.embedded import DEFAULT_FAMILIES, FAMILIES, TEACHERS, EmbeddedPool
from nt_lightning.pool.embedded.annotate import read_strategies
from nt_lightning.pool.embedded.family import Draft
from nt_lightning.traces.pool import PoolMaker
from nt_lightning.traces.record import check

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pool() -> EmbeddedPool:
    made = EmbeddedPool(num_questions=160)
    made.make()
    return made


@pytest.fixture(scope="module")
def rows(pool: EmbeddedPool) -> Rows:
    return pool.make().to_pylist()


def test_the_rows_are_a_record(pool: EmbeddedPool) -> None:
    table = pool.make()
    assert table.column_names == list(module.POOL_COLUMNS)
    assert check(table, "embedded").equals(table)
    assert all(table[name].null_count == 0 for name in table.column_names)
    assert isinstance(pool, PoolMaker)


def test_every_teacher_answers_every_question_in_order(rows: Rows) -> None:
    assert len(rows) == 640
    for place in range(0, len(rows), 4):
        group = rows[place : place + 4]
        assert [row["teacher"] for row in group] == list(TEACHERS)
        assert len({row["question"] for row in group}) == 1
    assert [row["topic"] for row in rows[::4][: len(DEFAULT_FAMILIES)]] == list(DEFAULT_FAMILIES)
    assert set(Counter(row["topic"] for row in rows).values()) == {80}
    assert rows[0]["id"] == "chain_sum-easy-0-00000/step_by_step"
    assert rows[0]["source"] == "reasoning_gym/chain_sum"


def test_answers_are_extracted_and_right(rows: Rows) -> None:
    for row in rows:
        answer = extract(
            f"<think>\n{row['reasoning']}\n</think>\n\n{row['answer']}", "exact"
        ).answer
        assert answer == row["answer"].removeprefix("Answer: ")
        assert row["correct"]
        gold = row["reference_answer"]
        assert answer == gold or row["topic"] == "complex_arithmetic", row["id"]


def test_annotations_are_true(rows: Rows) -> None:
    for row in rows:
        assert row["reasoning_strategies"] == read_strategies(row["reasoning"])
        assert row["num_steps"] == len(row["reasoning"].split("\n"))
        assert row["domain"] == FAMILIES[row["topic"]].domain
        assert row["finish_reason"] == "stop"
    shortest = [min(rows[i : i + 4], key=lambda row: row["verbosity"]) for i in range(0, 640, 4)]
    assert {row["verbosity"] for row in shortest} == {0}
    assert len({row["verbosity"] for row in rows}) >= 8


def test_a_teacher_writes_the_same_whoever_else_is_asked(rows: Rows) -> None:
    chosen = EmbeddedPool(num_questions=160, teachers=["terse", "step_by_step"]).make().to_pylist()
    assert [row["teacher"] for row in chosen[:4]] == ["terse", "step_by_step"] * 2
    by_id = {row["id"]: row for row in rows}
    assert len(chosen) == 320
    assert all(by_id[row["id"]] == row for row in chosen)


def test_the_step_by_step_reasoning_is_short(rows: Rows) -> None:
    words = [len(r["reasoning"].split()) for r in rows if r["teacher"] == "step_by_step"]
    assert sum(words) / len(words) < 25
    assert max(words) < 45


def test_models_agree_where_the_weak_answer_is_right(rows: Rows) -> None:
    assert {row["second_teacher"] for row in rows} == {"weak"}
    disagree = [row for row in rows if not row["models_agree"]]
    assert 0.30 < len(disagree) / len(rows) < 0.45
    assert all(row["second_answer"] != row["reference_answer"] for row in disagree)
    for row in rows:
        if row["models_agree"] and row["topic"] != "complex_arithmetic":
            assert row["second_answer"] == row["reference_answer"]


def test_harder_pools_disagree_more(pool: EmbeddedPool) -> None:
    names = ["chain_sum", "word_sequence_reversal", "needle_haystack"]
    hard = EmbeddedPool(names, num_questions=90, level="hard").lineage()["disagreement"]
    easy = EmbeddedPool(names, num_questions=90).lineage()["disagreement"]
    assert all(hard[name] > easy[name] for name in names)


def test_the_same_arguments_give_the_same_rows(pool: EmbeddedPool) -> None:
    random.seed(5)
    state = random.getstate()
    again = EmbeddedPool(num_questions=160)
    assert again.make().equals(pool.make())
    assert again.fingerprint() == pool.fingerprint()
    assert random.getstate() == state


def test_another_process_makes_the_same_rows(pool: EmbeddedPool) -> None:
    """Nothing hangs on the hash seed of the process; torch and datasets stay out."""
    code = (
        "import sys; from nt_lightning.files import digest; "
        "from nt_lightning.pool.embedded import EmbeddedPool; "
        "print(digest(EmbeddedPool(num_questions=160).make().to_pylist())); "
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == module.digest(pool.make().to_pylist())


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"level": "medium"},
        {"num_questions": 24},
        {"families": ["aiw", "chain_sum"]},
        {"teachers": ["terse"]},
    ],
)
def test_every_argument_matters(options: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"num_questions": 16}
    one, other = EmbeddedPool(**plain), EmbeddedPool(**{**plain, **options})
    assert one.fingerprint() != other.fingerprint()
    assert one.make().to_pylist() != other.make().to_pylist()


def test_a_wrong_trace_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(family: Any, problem: Any, rng: Any) -> Draft:
        return Draft(["It is 99."], frozenset({"shortcut"}), "99")

    monkeypatch.setitem(module.TEACHERS, "terse", careless)
    pool = EmbeddedPool(["chain_sum"], num_questions=10)
    assert Counter(pool.make()["teacher"].to_pylist()) == {
        "step_by_step": 10,
        "self_verifying": 10,
        "backtracking": 10,
    }
    lineage = pool.lineage()
    assert lineage["dropped_traces"] == {"chain_sum: terse is wrong by the scorer": 10}
    assert lineage["kept_traces"] == 30


def test_the_lineage_is_plain_json_and_honest(pool: EmbeddedPool) -> None:
    lineage = json.loads(json.dumps(pool.lineage()))
    assert lineage["about"].startswith("synthetic: ")
    assert lineage["arguments"]["families"] == list(DEFAULT_FAMILIES)
    assert lineage["arguments"]["teachers"] == list(TEACHERS)
    assert lineage["dropped_traces"] == {}
    assert lineage["passed_over_draws"]["chain_sum"]["the other side"] > 0
    for name in DEFAULT_FAMILIES:
        guessed = lineage["baselines"][name]
        assert guessed["num_questions"] == 20
        assert guessed["chance"] <= guessed["majority"] <= 0.3


def test_baselines_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    pool = EmbeddedPool(["chain_sum", "aiw"], num_questions=20)
    with caplog.at_level(logging.INFO, logger=module.__name__):
        pool.make()
        pool.make()
        pool.lineage()
    assert len(caplog.records) == 2
    found = r"embedded pool chain_sum/easy: 10 questions, guessing gets \d+\.\d % \(chance\) or "
    assert re.match(found, caplog.messages[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["sums"]}, r"families is \['sums'\]; allowed: distinct names out of chain_"),
        ({"teachers": ["gpt"]}, r"teachers is \['gpt'\]; allowed: .* step_by_step, terse, "),
        ({"teachers": []}, r"teachers is \[\]; allowed"),
        ({"level": "Easy"}, r"level is 'Easy'; allowed: easy, medium, hard"),
        ({"num_questions": 7}, r"num_questions is 7; allowed: at least 8, one a family"),
    ],
)
def test_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmbeddedPool(**options)


def test_too_many_questions_are_refused_with_what_there_is() -> None:
    message = r"family simple_equations at level easy: 900 training questions wanted, only \d+ av"
    with pytest.raises(UserError, match=message):
        EmbeddedPool(["simple_equations"], num_questions=900).make()
