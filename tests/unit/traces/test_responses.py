"""Teachers' notations of thinking."""

import pytest

from nt_lightning.traces.responses import (
    UNCLEAR,
    UNCLOSED,
    UNENDED,
    SplitError,
    has_think_block,
    split_response,
)


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
        ("think\r\nR\r\nanswer\r\nA\r\n", ("R", "A")),
        ("\n think\nR\nanswer\nA", ("R", "A")),
        ("think\nanswer\nA", ("", "A")),
        ("think\nR\nanswer\nno\nanswer\nA", ("R\nanswer\nno", "A")),
        ("think\nR\nanswer\nanswer\nA", ("R\nanswer", "A")),
        ("<THINK>R</THINK>A", ("R", "A")),
        ("\n<thinking>\nR\n</thinking>\nA", ("R", "A")),
        ("Write <thinking> first", ("", "Write <thinking> first")),  # it is about the tag
        (
            "<|start|>assistant<|channel|>analysis<|message|>R<|end|>"
            "<|start|>assistant<|channel|>final<|message|>A<|end|>",
            ("R", "A"),
        ),
        ("<|start|>assistant<|channel|>final<|message|>A<|return|>", ("", "A")),
        # the notation that it begins with, whatever it mentions
        ("[THINK]R </think> R[/THINK]A", ("R </think> R", "A")),
    ],
)
def test_split(response, parts):
    assert split_response(response) == parts


@pytest.mark.parametrize(
    ("response", "problem", "reason"),
    [
        ("<think>\nHm, 3 and", "never closed", UNCLOSED),
        ("[THINK]\nHm, 3 and", "never closed", UNCLOSED),
        ("<thinking>\nHm, 3 and", "never closed", UNCLOSED),
        ("<think>R</think>A<think>R</think>A", "more than one think block", UNCLEAR),
        ("R</think>A</think>", "more than one think block", UNCLEAR),
        ("<think>R</think>Use <think>.", "more than one think block", UNCLEAR),
        ("Sure! <think>R</think>A", "text in front of <think>", UNCLEAR),
        ("R</think>A<think>", "<think> stands behind </think>", UNCLEAR),
        ("think\nHm, 3 and", "no line 'answer'", UNCLOSED),
        (
            "<|begin_of_thought|>R<|end_of_thought|>\n\n<|begin_of_solution|>the answ",
            r"does not end in <\|end_of_solution\|>",
            UNENDED,
        ),
    ],
)
def test_refused(response, problem, reason):
    with pytest.raises(SplitError, match=problem) as refused:
        split_response(response)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>\n\n</think>\n\nA", True),  # a teacher that was told not to think
        ("R</think>A", True),
        ("[THINK]R[/THINK]A", True),
        ("think\nR\nanswer\nA", True),
        ("\nthink\r\nR", True),
        ("<Thinking>R</Thinking>A", True),
        ("<|start|>assistant<|channel|>final<|message|>A", True),
        ("I think\nso", False),
        ("", False),
    ],
)
def test_has_think_block(response, expected):
    assert has_think_block(response) is expected
