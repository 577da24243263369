"""Strategies, steps and verbosity read from texts that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nt_lightning.pool.embedded.annotate import (
    STRATEGIES,
    count_steps,
    read_strategies,
    verbosity,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("First 4 + 1 = 5.\nThen 5 - 2 = 3.", ["step-by-step", "calculation"]),
        ("4 -> 5 -> 3", ["shortcut"]),
        (
            "First Friday, 2 days forward.\nThen 1 Saturday, 2 Sunday.",
            ["step-by-step", "enumeration"],
        ),
        (
            "Part 1, the added numbers: 4.\nCheck: 4 + 1 = 5, the same.",
            ["decomposition", "calculation", "self-verification"],
        ),
        ("Put another way: 3 more.\nDone.", ["reframing"]),
        (
            "Try 4: 4 + 1 = 5, not 6, so that is wrong.\n"
            "Go back and try 5: 5 + 1 = 6 as wanted, so that is right.",
            ["calculation", "trial-and-error", "backtracking"],
        ),
        (
            "Try 5: 5 + 1 = 6 as wanted, so that is right.\nDone.",
            ["calculation", "trial-and-error"],
        ),
        ("Just two\nplain lines.", []),
        ("", ["shortcut"]),
    ],
)
def test_strategies_are_read(text: str, names: list[str]) -> None:
    assert read_strategies(text) == names


def test_the_words_of_a_question_set_nothing_off() -> None:
    listed = "First Try is last: Try.\nThen wrong is before Try: Try, wrong."
    assert read_strategies(listed) == ["step-by-step", "running-result", "working-backward"]
    assert read_strategies("the text says:\nGo back and try, Check: wrong") == []


def test_the_annotation_in_a_row_is_what_the_writer_says_it_used(
    drafts: list[tuple[str, Any]],
) -> None:
    assert len(drafts) > 2000
    differing = [
        (name, found.reasoning)
        for name, found in drafts
        if read_strategies(found.reasoning) != [s for s in STRATEGIES if s in found.strategies]
    ]
    assert not differing


def test_every_strategy_of_the_vocabulary_is_used(drafts: list[tuple[str, Any]]) -> None:
    used = {strategy for _, found in drafts for strategy in found.strategies}
    assert used == set(STRATEGIES)


def test_steps_are_lines_with_text() -> None:
    assert count_steps("First this.\n\n  \nThen that.") == 2
    assert count_steps("") == 0


@pytest.mark.parametrize(
    ("words", "shortest", "score"),
    [(5, 5, 0), (10, 5, 2), (15, 5, 4), (20, 5, 5), (40, 5, 8), (80, 5, 10), (500, 5, 10)],
)
def test_verbosity_grows_with_the_ratio(words: int, shortest: int, score: int) -> None:
    assert verbosity(words, shortest) == score


def test_verbosity_needs_words() -> None:
    with pytest.raises(ValueError, match="at least 1, not 3 and 0"):
        verbosity(3, 0)
