"""What is a loop, against its definition and by hand."""

import json
import random

import pytest

from nt_lightning.traces.repetition import is_looped
from tests.integration.real_data import real_file


def naive(text):
    for period in range(1, len(text) // 4 + 1):
        for length in range(max(128, 4 * period), len(text) + 1):
            tail = text[-length:]
            if tail[period:] != tail[:-period]:
                break
            if any(map(str.isalpha, tail)) or 2 * length >= len(text) or length >= 1_000:
                return True
    return False


def test_against_the_definition():
    draw = random.Random(0)
    found = []
    for number in range(600):
        letters = ("ab ", "3-|")[number % 2]
        unit = "".join(draw.choice(letters) for _ in range(draw.randint(1, 60)))
        text = "".join(draw.choice("abcd ") for _ in range(draw.choice([20, 90, 400])))
        text += unit * draw.randint(0, 9) + unit[: draw.randint(0, len(unit))]
        text += draw.choice(["", "", "x"])
        found.append(is_looped(text))
        assert found[-1] == naive(text)
    words, others = found[::2], found[1::2]
    assert 50 < sum(others) < sum(words) < 250


PROSE = "So I add the two numbers, carry the one, and check the result against the question. " * 8


@pytest.mark.parametrize(
    ("end", "looped"),
    [
        ("-" * 80, False),
        ("-" * 300, False),
        ("=" * 200 + "\n", False),
        ("| year | sum |\n" + "|---" * 60 + "|", False),
        ("1/3 is 0." + "3" * 60, False),
        ("1/3 is 0." + "3" * 200, False),
        ("❌" * 200, False),
        ("3" * 999, True),  # more than half of the text
        ("Wait. " * 22, True),
        ("等" * 128, True),
        ("yes, " * 26, True),
    ],
)
def test_what_is_repeated_without_words_may_be_meant(end, looped):
    """A rule, a table's separator, a grid or digits after prose are no loop; words are one."""
    assert is_looped(PROSE + end) is looped


def test_without_words_a_loop_is_half_of_the_text_or_a_thousand_characters():
    assert is_looped("word " * 40 + "0" * 200)
    assert not is_looped("word " * 40 + ". " + "0" * 200)
    long = "".join(f"{n} and then " for n in range(1_000))
    assert is_looped(long + "0" * 1_000)
    assert not is_looped(long + "0" * 999)


def test_the_loop_of_the_real_traces():
    """Of the 582 responses of Phi-3 one goes in circles, 107 thousand characters long."""
    path = real_file("mip_overthinking", "response", "gsm8k", "normal", "phi3", "response.json")
    texts = [row["model_answer"] for row in json.loads(path.read_text(encoding="utf-8"))]
    assert [len(text) for text in texts if is_looped(text)] == [106_918]
