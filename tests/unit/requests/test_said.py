"""What is told of a server's errors, and that the key is never among it."""

import html
import json
import urllib.parse

import pytest

from nt_lightning.requests.said import bytes_without, error_codes, error_text, without

KEY = 'sk-a/b"c+0123456789'


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "too  long\\n", "code": 3}}', "too long"),
        (b'{"object": "error", "message": "too long"}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b'{"detail": "too long"}', "too long"),
        (b'{"detail": [{"msg": "too long"}, "and wrong"]}', "too long; and wrong"),
        (b'{"error": null, "message": "too long"}', "too long"),
        (b'{"error": {"message": null}}', "None"),
        (b"too long", "too long"),
        (b"[3]", "[3]"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error": {"message": "half \\ud83d"}}', "half \ufffd"),
        (
            b"<!DOCTYPE html><html><style>p {color: red}</style><title>502 Bad &amp; worse</title>"
            b"<script>if (a < b) {}</script><p>nginx</p></html>",
            "502 Bad & worse nginx",
        ),
    ],
)
def test_errors_in_a_line(body, text):
    assert error_text(body, None) == text


ENTRY = {
    "type": "missing",
    "loc": ["body", "messages", 0, "content"],
    "msg": "Field required",
    "input": {"prompt": "The canary sings."},
    "ctx": {"error": "The canary sings."},
}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": [ENTRY]}, "Field required (missing, body.messages.0.content)"),
        ({"detail": [ENTRY, {"type": "x", "input": "canary"}]}, None),
        ({"object": "error", "message": str([ENTRY])}, None),  # as vLLM has it
        ({"error": {"message": f"1 validation error: {ENTRY}"}}, None),
        ({"errors": [ENTRY]}, None),
        ({"error": json.dumps([ENTRY])}, None),
        ({"unknown": json.dumps([ENTRY])}, None),
        ({"message": "x\n  no text [type=y, input_value='canary', input_type=str]"}, None),
    ],
)
def test_the_request_is_not_repeated(body, text):
    found = error_text(json.dumps(body).encode(), None)
    assert "canary" not in found
    assert text is None or found == text
    assert len(found) > 3


def test_what_is_no_request_stays():
    for said in ("the input: too long", "wrong input, 'inputs': 3"):
        assert error_text(json.dumps({"message": said}).encode(), None) == said


def test_a_long_error_is_cut():
    assert error_text(b"x" * 1000, None, 10) == "x" * 10 + " ..."


@pytest.mark.parametrize("form", [KEY, json.dumps(KEY)[1:-1], KEY.replace("/", "\\/")])
def test_the_key_is_hidden_as_it_is_and_as_json_writes_it(form):
    assert without(f"key {form}, again {form}", KEY) == "key ***, again ***"
    assert bytes_without(f"<p>{form}".encode(), KEY) == b"<p>***"


def test_the_key_is_hidden_before_a_text_is_cut():
    found = error_text(f"wrong key {KEY}".encode(), KEY, len("wrong key ") + 5)
    assert found == "wrong key ***"
    assert KEY[:5] not in error_text(json.dumps({"error": {"message": KEY}}).encode(), KEY, 5)


ESCAPED = [
    json.dumps(KEY),
    json.dumps(KEY).replace("/", "\\/"),
    "".join(f"\\u{ord(one):04X}" for one in KEY).join('""'),
    json.dumps(json.dumps(KEY)),  # a JSON text in a JSON text
    json.dumps(json.dumps(KEY).replace("+", "\\u002B")),
    json.dumps(html.escape(KEY)),
    json.dumps(KEY.replace("+", "&#43;").replace("/", "&#x2F;")),
    json.dumps(urllib.parse.quote(KEY)),
]


@pytest.mark.parametrize("form", ESCAPED)
def test_no_escape_hides_a_key_and_json_stays_json(form):
    body = f'{{"{"content"}": [{form}, "a\\\\", 0.5], {form}: null}}'.encode()
    told = json.loads(bytes_without(body, KEY))
    assert told["content"][0].strip('"\\') == "***"
    assert told["content"][1:] == ["a\\", 0.5]
    assert [name.strip('"\\') for name in told] == ["content", "***"]
    for text in (without(form, KEY), bytes_without(form.encode() + b"\xff", KEY).decode("latin-1")):
        assert "***" in text
        assert "0123456789" not in text


def test_what_holds_no_key_stays_as_it_came():
    for body in (b'{"a":  "\\u002b", "b": 1e3}', b"<html>\xff", b"[" * 100_000, b""):
        assert bytes_without(body, KEY) == body
    assert bytes_without(b"x", None) == b"x"


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"error": {"code": "insufficient_quota"}}', ("insufficient_quota", None)),
        (b'{"error": {"code": null, "type": "x"}}', (None, "x")),
        *((body, ()) for body in (b'{"error": "x"}', b'{"error": null}', b"[]", b"", b"\xff")),
    ],
)
def test_codes_of_errors(body, codes):
    assert error_codes(body) == codes
