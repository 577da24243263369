"""Servers: what is refused before anything is sent, and that no message shows a key."""

import json

import pytest

from nt_lightning.errors import UserError
from nt_lightning.requests.endpoint import Endpoint

SECRET = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("options", "option", "says"),
    [
        ({"concurrency": 0}, "concurrency", "0; allowed: 1 and more"),
        ({"max_tokens": 0}, "max_tokens", "allowed: 1 and more"),
        ({"temperature": -1.0}, "temperature", "allowed: 0 and more"),
        ({"temperature": float("nan")}, "temperature", "nan; allowed: 0 and more"),
        ({"usd_per_million_input": -1.0}, "usd_per_million_input", "allowed: 0 and more"),
        ({"usd_per_million_output": float("nan")}, "usd_per_million_output", "nan"),
        ({"timeout_s": 0.0}, "timeout_s", "allowed: more than 0"),
        ({"timeout_s": float("nan")}, "timeout_s", "nan"),
        ({"top_p": 1.5}, "top_p", "allowed: above 0, up to 1"),
        ({"base_url": "localhost:8000/v1"}, "base_url", "needed: http://"),
        ({"base_url": "ftp://host/v1"}, "base_url", "needed: http://"),
        ({"base_url": "http://host:99999/v1"}, "base_url", "needed: http://"),
        ({"base_url": "http://[::1/v1"}, "base_url", "needed: http://"),
        ({"base_url": "http://host/v1\n"}, "base_url", "needed: http://"),
        ({"extra_body": {"stream": True}}, "extra_body.stream", "one whole reply"),
        ({"extra_body": {"n": 4}}, "extra_body.n", "one whole reply"),
        *(
            ({"extra_body": {name: SECRET}}, f"extra_body: {name}", "teachers[1].api_key_env")
            for name in ("api_key", "API-Key", "key", "Authorization", "token", "X-Api-Key")
        ),
        *(
            ({"extra_body": {name: {"Authorization": SECRET}}}, "extra_body: Auth", "not allowed")
            for name in ("headers", "extra_headers")
        ),
        ({"extra_body": {"max_tokens": None}}, "extra_body", "a reply must end"),
        ({"extra_body": {"max_tokens": "all"}}, "extra_body", "a reply must end"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options, option, says):
    with pytest.raises(UserError) as caught:
        Endpoint("m", **options).check("teachers[1]")
    assert str(caught.value).startswith(f"teachers[1].{option}")
    assert SECRET not in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": None, "top_p": None},
        {"base_url": "https://api.example.com/v1/"},
        {"base_url": "http://[::1]:8000/v1"},
        {"extra_body": {"max_tokens": None, "max_completion_tokens": 100}},
        {"extra_body": {"stream": None}},
    ],
)
def test_what_works_passes(options):
    Endpoint("m", **options).check("judge")


@pytest.mark.parametrize(
    "base_url",
    [
        f"https://user:{SECRET}@host/v1",
        f"ftp://user:{SECRET}@host/v1",
        f"https://host/v1?key={SECRET}",
        f"https://host/v1#{SECRET}",
        f"http://u:{SECRET}@[::1/v1",
    ],
)
def test_a_key_in_the_address_is_refused_and_not_shown(base_url):
    with pytest.raises(UserError, match="api_key_env") as caught:
        Endpoint("m", base_url=base_url).check("judge")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_the_variable_of_the_key_must_be_set(monkeypatch, value):
    monkeypatch.delenv("NT_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("NT_TEST_KEY", value)
    with pytest.raises(UserError, match="NT_TEST_KEY is not set"):
        Endpoint("m", api_key_env="NT_TEST_KEY").check("judge")


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", f"{SECRET}\nX: y", f"{SECRET}é"])
def test_what_is_no_key_is_refused_and_not_shown(monkeypatch, value):
    monkeypatch.setenv("NT_TEST_KEY", value)
    with pytest.raises(UserError, match="needed: the key alone") as caught:
        Endpoint("m", api_key_env="NT_TEST_KEY").check("judge")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["EMPTY", "none", "ollama"])
def test_a_placeholder_is_a_key_and_no_secret(monkeypatch, value):
    """Taken out of what a server says, it would spoil replies that hold the word."""
    monkeypatch.setenv("NT_TEST_KEY", value)
    endpoint = Endpoint("m", api_key_env="NT_TEST_KEY")
    endpoint.check("judge")
    assert (endpoint.api_key(), endpoint.secret()) == (value, None)
    monkeypatch.setenv("NT_TEST_KEY", SECRET)
    assert (endpoint.api_key(), endpoint.secret()) == (SECRET, SECRET)


@pytest.mark.parametrize("address", ["http://h/v1/chat/completions", "http://h/chat/completions/"])
def test_the_full_address_is_refused(address):
    with pytest.raises(UserError, match="judge.base_url ends in /chat/completions, .* in /v1"):
        Endpoint("m", address).check("judge")


def test_an_address_without_v1_is_hinted_at_where_the_server_does_not_know_it():
    assert Endpoint("m", "http://h:1").hint(404) == "; base_url should end in /v1"
    assert Endpoint("m", "http://h:1").hint(401) == ""
    assert Endpoint("m", "http://h:1/v1/").hint(404) == ""


@pytest.mark.parametrize("given", [SECRET, "hf_abcdefgh", "gsk_0123"])
def test_a_key_in_place_of_its_variable_is_not_shown(given):
    with pytest.raises(UserError, match="may be the key itself") as caught:
        Endpoint("m", api_key_env=given).check("judge")
    assert given not in str(caught.value)


def test_the_key_is_read_and_stands_in_nothing_that_is_written(monkeypatch):
    monkeypatch.setenv("NT_TEST_KEY", f" {SECRET}\n")
    endpoint = Endpoint("m", api_key_env="NT_TEST_KEY")
    endpoint.check("judge")
    assert endpoint.api_key() == SECRET
    assert SECRET not in repr(endpoint) + json.dumps(endpoint.about()) + endpoint.url


def test_body_of_a_request():
    endpoint = Endpoint("m", top_p=None, max_tokens=9, extra_body={"temperature": None, "a": 1})
    messages = [{"role": "user", "content": "Why?"}]
    expected = {"model": "m", "messages": messages, "max_tokens": 9, "a": 1, "b": 2}
    assert endpoint.body(messages, b=2, c=None) == expected
    assert endpoint.about() == {"model": "m", "max_tokens": 9, "a": 1}


def test_address_and_price():
    endpoint = Endpoint("m", "http://h/v1/", usd_per_million_input=2.0, usd_per_million_output=8.0)
    assert endpoint.url == "http://h/v1/chat/completions"
    assert endpoint.cost(500_000, 250_000) == pytest.approx(1.0 + 2.0)
