"""The quick look for a loop changes nothing."""

import random

from nt_lightning.traces.repetition import is_looped


def naive(text):
    for period in range(1, len(text) // 4 + 1):
        length = max(128, 4 * period)
        if length <= len(text):
            tail = text[-length:]
            if all(tail[i] == tail[i - period] for i in range(period, length)):
                return True
    return False


def test_against_the_definition():
    draw = random.Random(0)
    found = []
    for _ in range(400):
        unit = "".join(draw.choice("ab ") for _ in range(draw.randint(1, 60)))
        text = "".join(draw.choice("abcd ") for _ in range(draw.randint(0, 90)))
        text += unit * draw.randint(0, 9) + unit[: draw.randint(0, len(unit))]
        text += draw.choice(["", "", "x"])
        found.append(is_looped(text))
        assert found[-1] == naive(text)
    assert 50 < sum(found) < 350
