"""What holds for every family at every level."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from reasoning_gym.factory import DATASETS

from nt_lightning.pool.embedded.families import DEFAULT_FAMILIES, FAMILIES
from nt_lightning.pool.embedded.family import LEVELS, Draft, first_then, number
from nt_lightning.pool.embedded.scoring import score
from nt_lightning.pool.embedded.teachers import TEACHERS
from tests.unit.pool.embedded.truth import is_true, statements


def test_the_default_families_are_many_and_of_many_domains() -> None:
    assert len(DEFAULT_FAMILIES) >= 8
    assert len({FAMILIES[name].domain for name in DEFAULT_FAMILIES}) >= 4


@pytest.mark.parametrize("name", FAMILIES)
def test_the_domain_is_reasoning_gyms_category(name: str) -> None:
    module = DATASETS[name][0].__module__
    assert module.split(".")[1] == FAMILIES[name].domain
    assert FAMILIES[name].name == name


def test_every_teacher_is_right_by_the_scorer(drawn: Any, drafts: list[tuple[str, Draft]]) -> None:
    entries = [entry for entries in drawn.values() for entry in entries for _ in TEACHERS]
    names = [name for (name, _), entries in drawn.items() for _ in entries for _ in TEACHERS]
    wrong = [
        label
        for (label, found), name, entry in zip(drafts, names, entries, strict=True)
        if not score(name, found.answer, entry)
    ]
    assert not wrong


def test_every_arithmetic_statement_is_true(drafts: list[tuple[str, Draft]]) -> None:
    found = [(label, text) for label, d in drafts for text in statements(d.reasoning)]
    assert len(found) > 4000
    assert not [(label, text) for label, text in found if not is_true(text)]


def test_no_line_is_blank_or_holds_a_tag(drafts: list[tuple[str, Draft]]) -> None:
    for label, found in drafts:
        assert all(line.strip() == line and line for line in found.lines), label
        assert "\n" not in found.answer, label
        assert "<" not in found.reasoning, label


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FAMILIES)
def test_candidates_fail_until_the_last(name: str, level: str, drawn: Any) -> None:
    family = FAMILIES[name]
    for index, entry in enumerate(drawn[name, level]):
        problem = family.parse(entry)
        tested = [family.test(problem, c) for c in family.candidates(problem, Random(index))]
        assert [found.holds for found in tested[:-1]] == [False] * (len(tested) - 1)
        assert tested[-1].holds
        assert 2 <= len(tested) <= 4


@pytest.mark.parametrize("name", FAMILIES)
def test_the_wrong_candidates_are_wrong_answers(name: str, drawn: Any) -> None:
    """What is called wrong is wrong by the family's own scorer too."""
    family = FAMILIES[name]
    if name == "number_sequence":  # its candidates are rules
        return
    for index, entry in enumerate(drawn[name, "easy"]):
        *wrong, right = family.candidates(family.parse(entry), Random(index))
        assert not any(score(name, candidate, entry) for candidate in wrong)
        assert score(name, right, entry)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_slip_is_mostly_a_wrong_answer_in_the_right_form(name: str, drawn: Any) -> None:
    family = FAMILIES[name]
    verdicts: Counter[bool] = Counter()
    for entry in drawn[name, "easy"]:
        for seed in range(10):
            verdicts[score(name, family.slip(family.parse(entry), Random(seed)), entry)] += 1
    assert verdicts[True] <= 0.1 * verdicts.total()


@pytest.mark.parametrize("name", FAMILIES)
def test_harder_levels_take_more_operations(name: str, drawn: Any) -> None:
    family = FAMILIES[name]
    mean = {
        level: sum(family.size(family.parse(entry)) for entry in drawn[name, level])
        / len(drawn[name, level])
        for level in LEVELS
    }
    if name in ("aiw", "complex_arithmetic"):  # larger numbers, as many operations
        assert mean["easy"] == mean["medium"] == mean["hard"]
    else:
        assert mean["easy"] < mean["medium"]
        assert mean["easy"] < mean["hard"]


def test_a_search_in_which_nothing_holds_is_a_bug() -> None:
    family = FAMILIES["needle_haystack"]
    entry = {
        "question": "A runs. B sits. \nWho sits?",
        "metadata": {"question": "Who sits? Reply only"},
    }
    problem = family.parse(entry)

    class Hopeless(type(family)):  # type: ignore[misc]
        def candidates(self, problem: Any, rng: Random) -> list[str]:
            return ["A"]

    with pytest.raises(AssertionError, match="no candidate holds"):
        Hopeless().search(problem, Random(0))


def test_helpers() -> None:
    assert first_then(["a", "b", "c"]) == ["First a", "Then b", "Then c"]
    assert [number(3), number(0), number(-3)] == ["3", "0", "(-3)"]
