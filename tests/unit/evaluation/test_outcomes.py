"""Outcomes, loops and obedience, by hand."""

from __future__ import annotations

import pytest

from nt_lightning.evaluation.outcomes import classify, is_looped, is_obedient, opened_think

LOOP = "<think>\nLet me see. " + "Wait, I should check again. " * 8


@pytest.mark.parametrize(
    ("response", "finish", "answer", "outcome"),
    [
        ("Answer: 3", "stop", "3", "answered"),
        ("I cannot say", "stop", None, "unparsed"),
        ("Answer: 3", "length", "3", "truncated"),
        ("<think>\nfirst, second", "length", None, "truncated"),
        (LOOP, "length", None, "looped"),
        (LOOP, "stop", None, "unparsed"),
        (LOOP, "time", None, "not_evaluated"),
        ("Answer: 3", "loop", "3", "looped"),  # the engine saw the loop in the ids
    ],
)
def test_outcome(response: str, finish: str, answer: str | None, outcome: str) -> None:
    assert classify(response, finish, answer) == outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        (LOOP, True),
        (LOOP[:-5], True),  # cut within the last copy
        ("Wait, I should check again. " * 3, False),
        ("0" * 128, True),
        ("0" * 127, False),
        ("\n" * 200, True),
        ("ab" * 100 + " and so on, which is the end", False),  # repeats, but not at the end
        (", ".join(str(i) for i in range(200)), False),
        ("x" * 1000 + "abcdefgh" * 16, True),
        ("The quick brown fox jumps over the lazy dog. " * 2 + "Then it sleeps. " * 7, False),
        ("", False),
    ],
)
def test_loops(text: str, looped: bool) -> None:
    assert is_looped(text) is looped


def test_loop_search_is_fast_on_long_text() -> None:
    assert not is_looped("".join("a" * n + "b" for n in range(300)))


@pytest.mark.parametrize(
    ("mode", "response", "finish", "obedient"),
    [
        ("no_think", "Answer: 3", "stop", True),
        ("no_think", "", "stop", True),
        ("no_think", "Answer: 3", "length", False),
        ("no_think", "<think>\n\n</think>\n\nAnswer: 3", "stop", False),
        ("no_think", "I see.</think> Answer: 3", "stop", False),
        ("think", "<think>\nSo.\n</think>\n\nAnswer: 3", "stop", True),
        ("think", "<think>\nSo.\n</think>\n\nAnswer: 3", "length", False),
        ("think", "<think>\nSo.\n</think>\n \n", "stop", False),
        ("think", "<think>\nSo. Answer: 3", "stop", False),
        ("think", "<think>a</think> b <think>c</think> d", "stop", False),
        ("think", "<think><think>a</think> b", "stop", False),
        ("think", "Well. <think>a</think> b", "stop", False),
        ("think", "Answer: 3", "stop", False),
        ("think", "<think>\nSo.\n</think>\n\nAnswer: 3", "loop", False),
        ("no_think", "Answer: 3", "loop", False),
        ("think", "<think>\nSo.\n</think>\n\nAnswer: 3", "time", None),
        ("adaptive", "<think>a</think> b", "stop", None),
        ("adaptive", "b", "length", None),
    ],
)
def test_obedience(mode: str, response: str, finish: str, obedient: bool | None) -> None:
    assert is_obedient(mode, response, finish) is obedient  # type: ignore[arg-type]


def test_opened_think() -> None:
    assert opened_think("<think>\nhm")
    assert not opened_think("hm</think> 3")
