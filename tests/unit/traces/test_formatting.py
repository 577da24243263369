"""Ids of prompts and responses, written by hand and against each family's template."""

import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.formatting import Example, PromptFormatter, response_text
from nt_lightning.traces.modes import ADAPTIVE, NO_THINK, THINK, ThinkMode
from tests.unit.traces.chat_templates import CHATS, byte_tokenizer

BARE = ThinkMode("no_think", "")
PREFILLED = ThinkMode("think", "", prefix="<think>")
FILLED = THINK.with_num_words(40)
R1 = "deepseek-r1-distill"
TEMPLATE_ENDS_WITH = {R1: "<think>\n", "deepseek-v3.1": "</think>"}
TEMPLATE_ENDS_WITH["qwen3-instruct"] = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def formatters():
    return {name: PromptFormatter(byte_tokenizer(name)) for name in CHATS}


@pytest.fixture(params=CHATS)
def name(request):
    return request.param


def tokens(formatter, ids):
    """Tokens as text; ``Ċ`` and ``Ġ`` are the byte-level alphabet's newline and blank."""
    return formatter.tokenizer.convert_ids_to_tokens(ids)


def labels(encoded):
    return encoded.input_ids[encoded.num_prompt :]


# -- by hand ---------------------------------------------------------------------------------------


def test_ids_of_a_system2_example_by_hand(formatters):
    formatter = formatters["llama3"]
    (encoded,) = formatter.encode([Example("Q", "R", "A", PREFILLED)])
    prompt = ["<|begin_of_text|>", "<|start_header_id|>", *"user", "<|end_header_id|>"]
    prompt += ["Ċ", "Ċ", "Q", "<|eot_id|>"]
    prompt += ["<|start_header_id|>", *"assistant", "<|end_header_id|>", "Ċ", "Ċ"]
    response = [*"<think>", "Ċ", "R", "Ċ", *"</think>", "Ċ", "Ċ", "A", "<|eot_id|>"]
    assert tokens(formatter, encoded.input_ids) == prompt + response
    assert encoded.num_prompt == len(prompt)
    assert encoded.input_ids[0] == 0
    assert labels(encoded)[-1] == 4


def test_ids_of_a_system1_example_by_hand(formatters):
    formatter = formatters["mistral"]
    (encoded,) = formatter.encode([Example("Q", None, "A", BARE)])
    expected = ["<s>", "[INST]", "Ġ", "Q", "Ġ", "[/INST]", "A", "</s>"]
    assert tokens(formatter, encoded.input_ids) == expected
    assert encoded.input_ids[:2] == [0, 2]
    assert encoded.num_prompt == 6


def test_think_tags_that_are_tokens(formatters):
    (encoded,) = formatters[R1].encode([Example("Q", "R", "A", PREFILLED)])
    expected = ["<think>", "Ċ", "R", "Ċ", "</think>", "Ċ", "Ċ", "A"]
    assert tokens(formatters[R1], labels(encoded)[:-1]) == expected


def test_the_instruction_stands_behind_an_empty_line(formatters):
    text = formatters["mistral"].prompt_text("2 + 2?", NO_THINK)
    assert text == "<s>[INST] 2 + 2?\n\nAnswer directly without thinking [/INST]"
    text = formatters["mistral"].prompt_text("2 + 2?", FILLED)
    assert text.endswith("\n\nThink carefully before answering. Use about 40 words [/INST]")


def test_response_text():
    assert response_text("R", "A") == "<think>\nR\n</think>\n\nA"
    assert response_text("", "A") == "<think>\n\n</think>\n\nA"
    assert response_text(None, "A") == "A"


# -- every family ----------------------------------------------------------------------------------


def test_prompt_ids_are_the_templates_own(formatters, name):
    formatter = formatters[name]
    turn = [{"role": "user", "content": ADAPTIVE.user_text("What is 3 + 4?")}]
    theirs = formatter.tokenizer.apply_chat_template(
        turn, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    removed = TEMPLATE_ENDS_WITH.get(name, "")
    ours = formatter.prompt_ids("What is 3 + 4?", ADAPTIVE) + formatter.encode_texts([removed])[0]
    assert ours == theirs
    if CHATS[name].bos:
        assert ours.count(formatter.tokenizer.bos_token_id) == 1


def test_the_stop_token_is_the_last_label_and_the_only_one(formatters, name):
    formatter = formatters[name]
    stop = formatter.tokenizer.convert_tokens_to_ids(CHATS[name].stop)
    assert formatter.stop_token_id == stop
    examples = [Example("Q", "R", "A", FILLED), Example("Q", None, "A", NO_THINK)]
    for encoded in formatter.encode(examples):
        assert labels(encoded).index(stop) == len(labels(encoded)) - 1


def test_labels_decode_to_the_response(formatters, name):
    formatter = formatters[name]
    examples = [Example("Q", "I add.\nSeven", "It is 7.", mode) for mode in (ADAPTIVE, FILLED)]
    for encoded in formatter.encode(examples):
        text = formatter.tokenizer.decode(labels(encoded)[:-1])
        assert text == "<think>\nI add.\nSeven\n</think>\n\nIt is 7."
    (direct,) = formatter.encode([Example("Q", None, "It is 7.", NO_THINK)])
    assert formatter.tokenizer.decode(labels(direct)[:-1]) == "It is 7."


def test_the_seam_is_the_same_in_training_and_at_inference(formatters, name):
    formatter = formatters[name]
    (encoded,) = formatter.encode([Example("Q", "R", "A", FILLED)])
    inference = formatter.prompt_ids("Q", FILLED)
    assert encoded.input_ids[: len(inference)] == inference
    assert inference[encoded.num_prompt :] == formatter.think_open_ids
    (adaptive,) = formatter.encode([Example("Q", "R", "A", ADAPTIVE)])
    assert adaptive.input_ids[: adaptive.num_prompt] == formatter.prompt_ids("Q", ADAPTIVE)
    assert labels(adaptive) == labels(encoded)


def test_a_system_prompt_stands_in_the_prompt_or_is_refused(name):
    tokenizer = byte_tokenizer(name)
    if not CHATS[name].system:
        with pytest.raises(UserError, match=r"system_prompt is 'Be brief\.'.*not supported"):
            PromptFormatter(tokenizer, "Be brief.")
        return
    text = PromptFormatter(tokenizer, "Be brief.").prompt_text("Q", NO_THINK)
    assert ("Be brief." in text) == (name != "mistral")  # that template leaves it out
    assert "You are" not in text


# -- prefixes of one's own -------------------------------------------------------------------------


def test_any_prefix_is_the_start_of_the_labels(formatters):
    formatter = formatters["smollm2"]
    okay = ThinkMode("think", "", prefix="<think>\nR1")
    empty = ThinkMode("no_think", "", prefix="<think>\n\n</think>\n\n")
    examples = [Example("Q", "R1 says", "A", okay), Example("Q", None, "A", empty)]
    for example, encoded in zip(examples, formatter.encode(examples), strict=True):
        inference = formatter.prompt_ids("Q", example.mode)
        assert encoded.input_ids[: len(inference)] == inference
        assert formatter.tokenizer.decode(labels(encoded)).startswith(example.mode.prefix)


@pytest.mark.parametrize(
    ("reasoning", "prefix"), [("R", "<think>\nOkay"), ("R", "Hm"), (None, "<think>")]
)
def test_a_prefix_that_no_response_has(formatters, reasoning, prefix):
    mode = ThinkMode("think", "", prefix=prefix)
    with pytest.raises(UserError, match=r"think mode 'think' has the prefix"):
        formatters["smollm2"].encode([Example("Q", reasoning, "A", mode)])


# -- what is refused -------------------------------------------------------------------------------


def test_a_stop_token_inside_a_response(formatters):
    example = Example("Q", None, "7<|im_end|>", NO_THINK, "t7")
    message = r"trace t7: the response to 'Q' holds the stop token '<\|im_end\|>' as text"
    with pytest.raises(UserError, match=message):
        formatters["smollm2"].encode([example])


def test_a_tokenizer_without_template():
    tokenizer = byte_tokenizer("plain")
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        PromptFormatter(tokenizer)


def test_neither_stop_token_nor_eos():
    tokenizer = byte_tokenizer("plain")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"ends an assistant turn with '\\n', .*no eos_token"):
        PromptFormatter(tokenizer)


# -- the tokenizer's state -------------------------------------------------------------------------


def test_earlier_calls_of_the_tokenizer_leave_no_trace(formatters):
    formatter = formatters["llama3"]
    text = formatter.prompt_text("Q" * 40, NO_THINK)
    expected, key = formatter.encode_texts([text, "a"]), formatter.fingerprint()
    formatter.tokenizer(
        ["a", "abc"], padding="max_length", truncation=True, max_length=5, split_special_tokens=True
    )
    assert formatter.tokenizer.backend_tokenizer.truncation is not None
    assert formatter.encode_texts([text, "a"]) == expected
    formatter.tokenizer(["a", "abc"], padding="max_length", truncation=True, max_length=5)
    assert formatter.fingerprint() == key
    assert formatter.encode_texts([]) == []


def test_a_slow_tokenizer_gives_the_same_ids(formatters, monkeypatch):
    formatter = formatters["llama3"]
    texts = [formatter.prompt_text("Grüße, 3 ≤ 4?", FILLED), "<think>\nno\n</think>"]
    fast = formatter.encode_texts(texts)
    monkeypatch.setattr(formatter, "_backend", lambda: None)
    assert formatter.encode_texts(texts) == fast


def test_the_fingerprint_knows_template_and_system_prompt():
    seen = [
        PromptFormatter(byte_tokenizer("smollm2")),
        PromptFormatter(byte_tokenizer("smollm2"), "Be brief."),
        PromptFormatter(byte_tokenizer("qwen3")),
    ]
    keys = [str(formatter.fingerprint()) for formatter in seen]
    assert len(set(keys)) == 3
    assert str(PromptFormatter(byte_tokenizer("smollm2")).fingerprint()) == keys[0]
