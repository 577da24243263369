"""Instructions that many prompts of a benchmark share: what is cut off, and what is not."""

import pytest

from nt_lightning.pool.overlap.instructions import without_instructions

DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
BOX = "Please reason step by step, and put your final answer within \\boxed{}."
ASKED = [
    "What is the root of 9?",
    "Compute $2^8$",
    "How many hens lay eggs? Each has three.",
    "Let x be 3. Find x + 1.",
    "Name a prime.",
    "If a train leaves at noon, when does it arrive?",
]


@pytest.mark.parametrize(
    "prompt",
    [
        "Read.\n\n{}\n\nThink.\nAnswer.",
        f'{DAPO}\n\n{{}}\n\nRemember to put your answer on its own line after "Answer:".',
        f"{DAPO} {{}}",
        f"{{}} {BOX}",
        f"{{}}\n{BOX}",
        "Question: {}\nAnswer:",
        "You get a problem of a contest and have to solve it with care {}",
        "请逐步推理。{}",
    ],
)
def test_sentences_lines_and_long_runs_are_cut(prompt):
    assert without_instructions([prompt.replace("{}", text, 1) for text in ASKED]) == ASKED


def test_an_instruction_may_have_a_few_wordings():
    texts = [f"{text} ({n})" for n in range(8) for text in ASKED]
    prompts = [f"{(DAPO, BOX, 'Think first.')[n // 6 % 3]} {text}" for n, text in enumerate(texts)]
    assert without_instructions(prompts) == texts


@pytest.mark.parametrize(
    "prompts",
    [
        [f"Read.\n{n}" for n in range(6)],  # numbers alone ask nothing
        [f"{DAPO} {text}" for text in ASKED[:4]],  # may be chance
        ["Same."] * 6,
        [f"What is the value of this expression? It is {n}." for n in range(6)],  # asks
        [f"How many of the {n} hens are white?" for n in range(6)],  # ends within a sentence
        [f"Is {word} red?\nA) Yes\nB) No" for word in ("ink", "sky", "sun", "ice", "tea")],
        [f"The word is {word}" for word in ("ink", "sky", "sun", "ice", "tea")],
    ],
)
def test_what_belongs_to_questions_stays(prompts):
    assert without_instructions(prompts) == prompts


def test_few_questions_that_begin_alike_are_left_as_they_are():
    begun = [f"Let ABC be a triangle. Find its {name} side." for name in ("long", "short")]
    others = [f"{word} is what?" for word in "abcdefgh"]
    assert without_instructions(begun + others) == begun + others
