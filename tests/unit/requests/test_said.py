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
        (b'{"detail": [{"msg": "too long"}]}', "[{'msg': 'too long'}]"),
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
