"""Training and held-out questions: disjoint by construction, distinct, deterministic."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from nt_lightning.errors import UserError
from nt_lightning.pool.embedded.families import DEFAULT_FAMILIES, FAMILIES
from nt_lightning.pool.embedded.questions import (
    draw,
    held_out_questions,
    is_held_out,
    item_random,
    shares,
    take_turns,
)


def keys(name: str, entries: list[dict[str, Any]]) -> tuple[set[str], set[Any]]:
    """Texts and operand tuples."""
    family = FAMILIES[name]
    operands = {family.operands(family.parse(entry)) for entry in entries}
    return {entry["question"].strip() for entry in entries}, operands


@pytest.mark.parametrize("name", FAMILIES)
def test_sides_are_disjoint_for_all_seeds_and_levels(name: str) -> None:
    train_texts: set[str] = set()
    train_operands: set[Any] = set()
    for seed, level in ((0, "easy"), (1, "easy"), (7, "medium"), (7, "hard")):
        texts, operands = keys(name, draw(name, 40, level, seed, held_out=False)[0])
        train_texts |= texts
        train_operands |= operands
    assert len(train_operands) > 90
    for seed, level in ((0, "easy"), (3, "medium")):
        texts, operands = keys(name, draw(name, 16, level, seed, held_out=True)[0])
        assert len(texts) == len(operands) == 16
        assert not texts & train_texts
        assert not operands & train_operands


def test_the_side_of_a_question_is_fixed() -> None:
    """Values of the hash, written down once: another hash would move questions over."""
    sides = [is_held_out("chain_sum", ((1, 1), (2, -1), (n, 1))) for n in range(12)]
    assert [n for n, held_out in enumerate(sides) if held_out] == [7, 9]
    assert 0.17 < sum(is_held_out("aiw", (n,)) for n in range(5000)) / 5000 < 0.23


@pytest.mark.parametrize("name", FAMILIES)
def test_a_draw_repeats_no_text_and_no_operands(name: str) -> None:
    entries, _ = draw(name, 80, "easy", 5, held_out=False)
    texts, operands = keys(name, entries)
    assert len(texts) == len(operands) == len(entries) == 80


@pytest.mark.parametrize("name", FAMILIES)
def test_no_answer_is_frequent(name: str) -> None:
    entries, _ = draw(name, 40, "easy", 2, held_out=False)
    assert Counter(entry["answer"] for entry in entries).most_common(1)[0][1] <= 12


@pytest.mark.parametrize("name", DEFAULT_FAMILIES)
def test_default_families_hold_enough_questions(name: str) -> None:
    """100 to train on (800 questions) and 25 held out (200) at the default level."""
    assert len(draw(name, 100, "easy", 0, held_out=False)[0]) == 100
    assert len(draw(name, 25, "easy", 0, held_out=True)[0]) == 25


def test_a_draw_depends_on_its_seed_alone() -> None:
    random.seed(1)
    first, passed = draw("aiw", 20, "easy", 4, held_out=False)
    state = random.getstate()
    random.seed(2)
    again, _ = draw("aiw", 20, "easy", 4, held_out=False)
    assert first == again
    assert first != draw("aiw", 20, "easy", 5, held_out=False)[0]
    assert passed["the other side"] > 0
    random.seed(1)
    assert random.getstate() == state  # nothing was drawn from the global generator


def test_an_exhausted_family_says_how_much_there_is() -> None:
    message = r"family aiw at level easy: 500 held-out questions wanted, only \d\d available"
    with pytest.raises(UserError, match=message):
        held_out_questions(["aiw"], 500)


def test_held_out_questions_take_turns_and_are_reproducible() -> None:
    names = ["chain_sum", "aiw"]
    questions = held_out_questions(names, num_problems=5, seed=3)
    assert [q.family for q in questions] == ["chain_sum", "aiw", "chain_sum", "aiw", "chain_sum"]
    assert [q.id for q in questions[:3]] == [
        "chain_sum-easy-3-held-out-00000",
        "aiw-easy-3-held-out-00000",
        "chain_sum-easy-3-held-out-00001",
    ]
    assert [q.domain for q in questions[:2]] == ["arithmetic", "logic"]
    assert all(q.question == q.entry["question"] for q in questions)
    assert all(q.reference_answer == q.entry["answer"] for q in questions)
    assert questions == held_out_questions(names, num_problems=5, seed=3)
    assert questions != held_out_questions(names, num_problems=5, seed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["sums"]}, r"families is \['sums'\]; allowed: distinct names out of chain_"),
        ({"families": []}, r"families is \[\]; allowed"),
        ({"families": ["aiw", "aiw"]}, r"families is \['aiw', 'aiw'\]; allowed: distinct"),
        ({"families": "aiw"}, r"families is 'aiw'; allowed: distinct names"),
        ({"level": "tiny"}, r"level is 'tiny'; allowed: easy, medium, hard"),
        ({"num_problems": 3}, r"num_problems is 3; allowed: at least 8, one a family"),
    ],
)
def test_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        held_out_questions(**options)


def test_shares_and_turns() -> None:
    assert shares(["a", "b", "c"], 8) == {"a": 3, "b": 3, "c": 2}
    one, two, three = {"n": 1}, {"n": 2}, {"n": 3}
    turns = take_turns({"a": [one, two], "b": [three]})
    assert turns == [("a", 0, one), ("b", 0, three), ("a", 1, two)]


def test_items_have_generators_of_their_own() -> None:
    assert item_random(0, "x").random() == item_random(0, "x").random()
    assert item_random(0, "x").random() != item_random(0, "y").random()
    assert item_random(0, "x").random() != item_random(1, "x").random()
