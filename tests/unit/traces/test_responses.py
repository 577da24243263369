"""Teachers' notations of thinking."""

import pytest

from nt_lightning.traces.responses import CutOffError, has_think_block, split_response


@pytest.mark.parametrize(
    ("response", "parts"),
    [
        ("<think>\nR\n</think>\n\nA\n", ("R", "A")),
        ("<think>R</think>A", ("R", "A")),
        ("Okay.\n</think>\n\nA", ("Okay.", "A")),  # the template has prefilled the tag
        ("\n<think>\n\n</think>\n\nA", ("", "A")),
        ("  It is 7. ", ("", "It is 7.")),
        ("[THINK]R[/THINK]A", ("R", "A")),
        ("◁think▷R◁/think▷A", ("R", "A")),
        ("<seed:think>R</seed:think>A", ("R", "A")),
        (
            "<|begin_of_thought|>\n\nR\n\n<|end_of_thought|>\n\n"
            "<|begin_of_solution|>\n\nA\n\n<|end_of_solution|>",
            ("R", "A"),
        ),
        (
            "<|channel|>analysis<|message|>R<|end|><|start|>assistant<|channel|>final<|message|>A"
            "<|return|>",
            ("R", "A"),
        ),
        ("think\nR, the answer\nis 7.\nanswer\nAnswer: A", ("R, the answer\nis 7.", "Answer: A")),
        ("I think\nthe answer\nis A", ("", "I think\nthe answer\nis A")),
    ],
)
def test_split(response, parts):
    assert split_response(response) == parts


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ("<think>\nHm, 3 and", "never closed"),
        ("[THINK]\nHm, 3 and", "never closed"),
        ("<think>R</think>A<think>R</think>A", "more than one think block"),
        ("R</think>A</think>", "more than one think block"),
        ("Sure! <think>R</think>A", "text in front of <think>"),
        ("R</think>A<think>", "<think> stands behind </think>"),
        ("think\nHm, 3 and", "0 lines 'answer'"),
        ("think\nR\nanswer\nno\nanswer\nA", "2 lines 'answer'"),
    ],
)
def test_refused(response, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        split_response(response)
    is_cut_off = "never closed" in problem or problem.startswith("0 lines")
    assert isinstance(refused.value, CutOffError) == is_cut_off


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>\n\n</think>\n\nA", True),  # a teacher that was told not to think
        ("R</think>A", True),
        ("[THINK]R[/THINK]A", True),
        ("think\nR\nanswer\nA", True),
        ("I think\nso", False),
        ("", False),
    ],
)
def test_has_think_block(response, expected):
    assert has_think_block(response) is expected
