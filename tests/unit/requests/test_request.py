"""Requests and replies, against digests, limits and replies written by hand."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nt_lightning.requests.request import (
    TEMPLATE_TOKENS,
    BrokenReplyError,
    Reply,
    Request,
    messages_of,
    read_reply,
)
from nt_lightning.requests.token_bound import tokens_of


def body(text="Why?", **further):
    return {"model": "m", "messages": messages_of(None, text), **further}


def test_the_key_is_the_digest_of_the_bytes_that_are_sent():
    request = Request.of(body(), 10)
    sent = b'{"messages": [{"content": "Why?", "role": "user"}], "model": "m"}'
    assert request.body == sent
    assert request.key == hashlib.blake2b(b"0\n" + sent, digest_size=16).digest()
    shuffled = {"messages": messages_of(None, "Why?"), "model": "m"}
    assert Request.of(shuffled, 10).key == request.key


def test_every_part_of_the_body_and_the_sample_change_the_key():
    bodies = [body(), body("Why"), body(seed=1), {**body(), "model": "n"}]
    keys = [Request.of(one, 10, sample).key for one in bodies for sample in (0, 1)]
    assert len(set(keys)) == 8
    assert Request.of(body(), 99).key == keys[0]  # a limit that is not sent


@given(st.text(max_size=200), st.text(max_size=50))
def test_no_prompt_has_more_tokens_than_are_counted(question, system):
    request = Request.of({"model": "m", "messages": messages_of(system, question)}, 10)
    least = tokens_of(question) + tokens_of(system) - question.count("\n") - system.count("\n")
    assert request.prompt_tokens() >= least + TEMPLATE_TOKENS


def test_a_prompt_of_twenty_words_is_not_a_thousand_tokens():
    text = (
        "How many apples are left when Anna gives three of her seven to Bob and eats one at once?"
    )
    sampling = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 30}
    assert 28 <= Request.of(body(text, **sampling), 30).prompt_tokens() <= 160


def test_a_further_try_is_the_same_body_under_another_key():
    first = Request.of(body(), 10)
    second, third = first.again(), first.again().again()
    assert len({first.key, second.key, third.key}) == 3
    assert [one.number for one in (first, second, third)] == [0, 1, 2]
    assert third.body == first.body
    assert second == Request.of(body(), 10).again()


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({}, 10),
        ({"max_tokens": 500}, 500),
        ({"max_tokens": 5}, 10),
        ({"max_completion_tokens": 700}, 700),
        ({"max_tokens": None, "max_completion_tokens": 20}, 20),
    ],
)
def test_a_body_that_allows_a_longer_reply_counts(fields, longest):
    assert Request.of(body(**fields), 10).max_completion_tokens == longest


def test_characters_beyond_the_first_plane_and_halves_of_pairs():
    sent = json.loads(Request.of(body("a 𝔸 😀"), 1).body)
    assert sent["messages"][0]["content"] == "a 𝔸 😀"
    sent = json.loads(Request.of(body("half \ud83d and \udc00"), 1).body.decode("utf-8"))
    assert sent["messages"][0]["content"] == "half \ufffd and \ufffd"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_json_cannot_say_is_no_request(value):
    with pytest.raises((ValueError, TypeError)):
        Request.of(body(field=value), 1)


def said(message, **further):
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **further}).encode()


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "4"}, "4", ""),
        ({"content": None}, "", ""),
        ({}, "", ""),
        ({"content": "4", "reasoning_content": "2 + 2"}, "4", "2 + 2"),
        ({"content": "4", "reasoning": "2 + 2"}, "4", "2 + 2"),
        ({"content": "4", "reasoning_content": None, "reasoning": "2 + 2"}, "4", "2 + 2"),
        ({"content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}, "42", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]},
                    {"type": "text", "text": "4"},
                ]
            },
            "4",
            "2 + 2",
        ),
        ({"content": "4", "reasoning": {"summary": "2 + 2"}}, "4", ""),
        ({"content": "4", "reasoning_content": 3, "reasoning": "2 + 2"}, "4", "2 + 2"),
        ({"content": 4}, "", ""),
        ({"content": [4, {"type": "text", "text": "2"}, {"type": "text"}]}, "2", ""),
        ({"content": "half \ud83d"}, "half \ufffd", ""),
        ({"content": "😀"}, "😀", ""),
    ],
)
def test_replies_of_several_servers(message, text, reasoning):
    assert read_reply(said(message)) == Reply(text, reasoning, "stop", None, None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7}, (7, None)),
        ({"prompt_tokens": 7.0, "completion_tokens": "3"}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": -3}, (None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None)),
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, (None, 3)),
        ([1], (None, None)),
        (None, (None, None)),
    ],
)
def test_an_odd_count_is_none_and_loses_no_reply(usage, counts):
    found = read_reply(said({"content": "4"}, usage=usage))
    assert (found.text, *found[3:]) == ("4", *counts)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"[]", b"3", b"null", b'{"choices": []}', b'{"choices": [{}]}', b"\xff\xfe"),
        *(b'{"error": {"message": "no"}}', b'{"choices": [{"message": null}]}'),
        *(b"<html></html>", b"[" * 100_000, said([]), said("4")),
    ],
)
def test_what_is_no_completion(raw):
    with pytest.raises(BrokenReplyError):
        read_reply(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "type", "text"]), inner
        )
    ),
)


@given(JSON)
def test_any_json_is_a_reply_or_a_broken_one(value):
    for raw in (json.dumps(value), json.dumps({"choices": [{"message": value}], "usage": value})):
        try:
            found = read_reply(raw.encode())
        except BrokenReplyError:
            continue
        "".join(found[:3]).encode()


def test_turns_of_a_chat():
    assert messages_of("Be brief.", "Why?", "So.", "Why so?") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Why so?"},
    ]
