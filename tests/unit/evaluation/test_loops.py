"""Loops among generated ids: planted ones, and honest ones that look like them."""

from __future__ import annotations

import random

import pytest

from nt_lightning.evaluation.loops import goes_round


def naive(ids: list[int]) -> bool:
    """By the words of the rule."""
    for period in range(1, 513):
        needed = max(512, 6 * period)
        tail = ids[-needed:]
        if len(tail) == needed and all(
            tail[place] == tail[place - period] for place in range(period, needed)
        ):
            return True
    return False


def noise(count: int, seed: int = 0, vocabulary: int = 1000) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(vocabulary) for _ in range(count)]


@pytest.mark.parametrize(
    ("ids", "looped"),
    [
        ([7] * 512, True),
        ([7] * 511, False),
        ([1, 2, 3] * 171, True),
        (noise(300) + [1, 2, 3] * 171, True),
        ([1, 2, 3] * 300 + [4], False),  # it has found a way out
        ([1, 2, 3] * 100 + [4] + [1, 2, 3] * 100, False),
        (noise(512, 1) * 6, True),
        (noise(512, 1) * 6 + noise(512, 1)[:50], True),  # cut within a round
        (noise(512, 1)[100:] + noise(512, 1) * 5, False),  # 5 rounds and a bit
        (noise(513, 1) * 12, False),  # the period is too long
        (noise(86, 1) * 6, True),
        (noise(85, 1) * 6, False),  # 510 tokens
        ([*range(1, 600)], False),
        ([token for i in range(200) for token in (5, 6, 100 + i, 7)], False),  # a numbered list
        ([d for i in range(1, 1001) for d in (*map(int, str(i)), 10)], False),  # 1, 2, ... 1000
        ([token for row in range(60) for token in (1, *noise(9, row), 2)], False),  # a table
        ([token for i in range(200) for token in (5, 6, 7)] + noise(20), False),
        ([], False),
    ],
)
def test_planted(ids: list[int], looped: bool) -> None:
    assert goes_round(ids) is looped
    assert naive(ids) is looped


def test_equals_the_words_of_the_rule() -> None:
    generator = random.Random(3)
    found = 0
    for _ in range(200):
        period = generator.choice((1, 2, 5, 40, 84, 128, 500, 514))
        round_ids = noise(period, generator.randrange(9), generator.choice((2, 50)))
        ids = noise(generator.randrange(40)) + round_ids * generator.randrange(1, 900 // period + 8)
        if generator.random() < 0.3:
            ids[-generator.randrange(1, len(ids) + 1)] += 1
        assert goes_round(ids) is naive(ids)
        found += naive(ids)
    assert 20 < found < 180


def test_digits_that_go_on_are_a_loop_after_all() -> None:
    """1/3 to 500 places is meant, and what is longer will not end."""
    assert not goes_round([1, 2, *[3] * 500])
    assert goes_round([1, 2, *[3] * 512])
