"""From texts to tokens and steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from nt_lightning.errors import UserError
from nt_lightning.student.naturalness.encode import PLAIN_QUESTION, ResponseEncoder
from nt_lightning.student.naturalness.layout import ScoreSpec, plan_response
from nt_lightning.traces.formatting import Example, PromptFormatter
from nt_lightning.traces.modes import ThinkMode
from nt_lightning.traces.steps import ColumnSteps, FixedTokenSteps, NewlineSteps
from tests.tiny import tiny_tokenizer

FORMATTER = PromptFormatter(tiny_tokenizer())
QUESTION, REASONING, ANSWER = "What is 3 + 4?", "I add three. That gives seven.", "Answer: 7"
PIECES = ["a", "ü", "数", "🙂", " ", "\n", "\n\n", ". ", "3.1", "give", "<think>"]


def words(encoded, count=None):
    return FORMATTER.tokenizer.decode(encoded.response[:count])


def steps_of(encoded):
    """The decoded text of every step."""
    pieces, start = [], 0
    for length in encoded.step_lengths:
        pieces.append(FORMATTER.tokenizer.decode(encoded.response[start : start + length]))
        start += length
    return pieces


def test_plain_text_is_reasoning_and_answer():
    found = ResponseEncoder(FORMATTER).encode("a", QUESTION, REASONING, ANSWER)
    assert found.id == "a"
    assert found.prompt.tolist() == FORMATTER.prompt_ids(QUESTION, PLAIN_QUESTION)
    assert words(found) == f"{REASONING}\n\n{ANSWER}"
    assert steps_of(found) == ["I add three.", " That gives seven.\n\n", "Answer: 7"]


def test_tagged_text_is_what_training_labels():
    found = ResponseEncoder(FORMATTER, scored_text="tagged").encode(
        "a", QUESTION, REASONING, ANSWER
    )
    example = Example(QUESTION, REASONING, ANSWER, PLAIN_QUESTION)
    (trained,) = FORMATTER.encode([example])
    assert [*found.prompt, *found.response] == trained.input_ids
    assert len(found.prompt) == trained.num_prompt
    assert steps_of(found)[-1].endswith("<|im_end|>")


@pytest.mark.parametrize(
    ("reasoning", "answer", "text"),
    [(None, ANSWER, ANSWER), ("", ANSWER, ANSWER), (REASONING, "", REASONING), (None, "", "")],
)
def test_a_part_that_is_not_there(reasoning, answer, text):
    found = ResponseEncoder(FORMATTER).encode("a", QUESTION, reasoning, answer)
    assert words(found) == text
    assert found.step_lengths.sum() == len(found.response)
    assert (len(found.step_lengths) == 0) == (text == "")


def test_no_instruction_stands_behind_the_question():
    found = ResponseEncoder(FORMATTER).encode("a", QUESTION, None, ANSWER)
    assert found.prompt.tolist() == FORMATTER.prompt_ids(QUESTION, ThinkMode("none", ""))
    assert found.prompt.tolist() != FORMATTER.prompt_ids(QUESTION, ThinkMode("x", "Answer"))


@pytest.mark.parametrize("scored_text", ["plain", "tagged"])
def test_a_column_of_steps(scored_text):
    encoder = ResponseEncoder(FORMATTER, ColumnSteps(), scored_text=scored_text)
    found = encoder.encode("a", QUESTION, REASONING, ANSWER, step_starts=[0, 12])
    steps = [piece.strip() for piece in steps_of(found)]
    assert len(steps) == 3
    assert steps[0].endswith("I add three.")
    assert steps[1] == "That gives seven."
    assert "Answer: 7" in steps[2]


def test_fixed_steps_count_tokens():
    found = ResponseEncoder(FORMATTER, FixedTokenSteps(4)).encode("a", QUESTION, REASONING, ANSWER)
    assert set(found.step_lengths[:-1].tolist()) == {4}


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=10).map("".join),
    st.sampled_from(["plain", "tagged"]),
)
def test_the_response_is_tokenised_once_and_whole(reasoning, answer, scored_text):
    """Steps partition the tokens of the undivided text: no seam changes an id."""
    splitters = (NewlineSteps(), FixedTokenSteps(3))
    encoders = [ResponseEncoder(FORMATTER, s, scored_text=scored_text) for s in splitters]
    found = [encoder.encode("a", QUESTION, reasoning, answer) for encoder in encoders]
    assert found[0].response.tolist() == found[1].response.tolist()
    for one in found:
        assert one.step_lengths.sum() == len(one.response)
        assert (one.step_lengths > 0).all()
    if scored_text == "plain":
        text = f"{reasoning}\n\n{answer}" if reasoning and answer else reasoning or answer
        assert found[0].response.tolist() == FORMATTER.encode_texts([text])[0]


def test_a_slow_tokenizer_is_refused():
    class Slow:
        tokenizer = type("Tokenizer", (), {"name_or_path": "slow-one"})

    with pytest.raises(UserError, match="'slow-one' is a slow one.*needs a fast tokenizer"):
        ResponseEncoder(Slow)


@pytest.mark.parametrize(
    ("starts", "reason"),
    [
        (None, "column 'step_starts' is null"),
        ([0, None], "column 'step_starts' is null"),
        ([0, 999], "column 'step_starts' has 0 to 999; the reasoning has 30 characters"),
        ([-1], "column 'step_starts' has -1 to -1"),
    ],
)
def test_a_response_that_cannot_be_cut_has_a_reason(starts, reason):
    encoder = ResponseEncoder(FORMATTER, ColumnSteps())
    found = encoder.encode("a", QUESTION, REASONING, ANSWER, step_starts=starts)
    assert reason in found.unscored
    plan = plan_response(found, ScoreSpec())
    assert (plan.reason, plan.runs, plan.num_values) == (found.unscored, (), 0)
    assert encoder.encode("a", QUESTION, "", "", step_starts=None).step_lengths.tolist() == []


@pytest.mark.parametrize("scored_text", ["plain", "tagged"])
def test_a_special_token_in_a_text_is_not_scored(scored_text):
    """It would be read as the end of the turn; tags of thinking and the turn's own end are none."""
    encoder = ResponseEncoder(FORMATTER, scored_text=scored_text)
    assert encoder.encode("a", QUESTION, REASONING, ANSWER).unscored is None
    assert encoder.encode("a", QUESTION, "<think> so", ANSWER).unscored is None
    found = encoder.encode("a", QUESTION, REASONING, "It ends with <|im_end|> here.")
    assert found.unscored == "the text holds the special token '<|im_end|>'"
    assert plan_response(found, ScoreSpec()).reason == found.unscored


def test_an_unknown_word_is_no_special_token():
    tokenizer = tiny_tokenizer()
    tokenizer.unk_token = "<|endoftext|>"
    encoder = ResponseEncoder(PromptFormatter(tokenizer))
    found = encoder.encode("a", QUESTION, REASONING, "It ends with <|endoftext|> here.")
    assert found.unscored == "the text holds the special token '<|endoftext|>'"
    assert encoder._special_in("a word that is not known", found.response.tolist()) is None


def test_blanks_are_in_the_offsets_of_a_tokenizer_that_trims_them():
    """Else a step that begins with a blank would lose its first token to the step before."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trimmed = ResponseEncoder(PromptFormatter(tokenizer))
    plain = ResponseEncoder(FORMATTER)
    for text in (REASONING, "It is so. I see. \n\n That is it. Go on."):
        one, other = (encoder.encode("a", QUESTION, text, ANSWER) for encoder in (trimmed, plain))
        assert one.step_lengths.tolist() == other.step_lengths.tolist()
        assert one.step_starts.tolist() == other.step_starts.tolist()
