"""Questions without labels and options, and with them as others write them."""

import pytest

from nt_lightning.pool.stems import notations, split_options


@pytest.mark.parametrize(
    ("text", "stem", "options"),
    [
        ("Question: Who?\n\nA. you\nB. I\n\nAnswer:", "Who?", ["you", "I"]),
        ("Who?\n(A) you\n(B) I", "Who?", ["you", "I"]),
        ("Who?\n[A] you\n\n[B] I\n", "Who?", ["you", "I"]),
        ("A) you\nB) I", "A) you\nB) I", []),  # nothing else is left
        ("Let A. be a set\nA. it is", "Let A. be a set\nA. it is", []),
        ("Two:\nA. is red\nB. is blue\nWho?", "Two:\nA. is red\nB. is blue\nWho?", []),
        ("Who?\nA. you\nC. I", "Who?\nA. you\nC. I", []),
        ("Two:\nA. red\nWho?\nA. you\nB. I", "Two:\nA. red\nWho?", ["you", "I"]),
        ("Who?", "Who?", []),
    ],
)
def test_options_stand_last(text, stem, options):
    assert split_options(text) == (stem, options)


def test_notations_by_hand():
    assert [" ".join(one.split()) for one in notations("Who?", ["you", "I"])][:4] == [
        "Who? you I",
        "Who? 1 you 2 I",
        "Who? A you B I",
        "Who? Options: you I",
    ]
    assert len(notations("Who?", ["x"] * 27)) == 8  # no letters for so many
