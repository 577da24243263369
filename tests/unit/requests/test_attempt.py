"""One attempt against a server that says what the test wants: its kind of end, its cost."""

import asyncio
import json
import math
import re
import socket

import pytest

from nt_lightning.requests.attempt import Attempt, attempt, retry_after
from nt_lightning.requests.budget import Spent
from nt_lightning.requests.endpoint import Endpoint
from nt_lightning.requests.jobs import Job, open_lane
from nt_lightning.requests.request import Reply, Request, messages_of
from tests.servers.fault_server import completion, response
from tests.servers.scripted import CLOSE, HANG, Cut, Later, no, reply, scripted

KEY = "sk-0123456789abcdef/+"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("NT_TEST_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def endpoint(port, **options):
    given = {"api_key_env": "NT_TEST_KEY", "timeout_s": 5.0, "max_tokens": 100, **options}
    return Endpoint("tiny", f"http://127.0.0.1:{port}/v1", **given)


def sends(server, times=1, pause_s=0.0, text="Why?"):
    """What becomes of a request that is sent some times over one lane."""

    async def run():
        request = Request.of(server.body(messages_of(None, text)), server.max_tokens)
        found = []
        async with open_lane(Job("test", server, [], 1)) as lane:
            for _ in range(times):
                found.append(await attempt(lane.session, server, request))
                await asyncio.sleep(pause_s)
        return found

    return asyncio.run(run())


def send(answer, **options):
    with scripted(lambda seen: answer) as server:
        (found,) = sends(endpoint(server.port, **options))
    return found


def test_a_reply():
    raw = completion("So.", "stop")
    with scripted(lambda seen: response(200, raw)) as server:
        (found,) = sends(endpoint(server.port))
    assert found[:1] + found[2:5] == ("replied", 200, Reply("So.", "", "stop", 7, 1), raw)
    (seen,) = server.seen
    assert seen.head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert f"Authorization: Bearer {KEY}" in seen.head
    assert seen.body["messages"] == [{"role": "user", "content": "Why?"}]


def test_without_a_key_none_is_sent():
    with scripted(lambda seen: reply()) as server:
        sends(endpoint(server.port, api_key_env=None))
    assert "authorization" not in server.seen[0].head.lower()


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (no(400, "too long"), "refused", "HTTP 400: too long"),
        (no(413, "too long"), "refused", "HTTP 413: too long"),
        (no(422, "bad"), "refused", "HTTP 422: bad"),
        (no(403, "flagged"), "barred", "HTTP 403: flagged"),
        (no(401, "wrong key"), "hopeless", "HTTP 401: wrong key"),
        (no(402, "no money"), "hopeless", "HTTP 402: no money"),
        (no(404, "no such model"), "hopeless", "HTTP 404: no such model"),
        (no(405), "hopeless", "HTTP 405"),
        (no(429), "throttled", "HTTP 429"),
        (no(503), "throttled", "HTTP 503"),
        (no(529), "throttled", "HTTP 529"),
        (no(429, code="insufficient_quota"), "hopeless", "HTTP 429"),
        (no(429, type="insufficient_quota"), "hopeless", "HTTP 429"),
        (no(500), "failed", "HTTP 500: no"),
        (no(502), "failed", "HTTP 502"),
        (no(409), "failed", "HTTP 409"),
        (no(408), "lost", "HTTP 408"),
        (no(504), "lost", "HTTP 504"),
        (no(524), "lost", "HTTP 524"),
        (response(307, b"", "Location: https://h/v1\r\n"), "hopeless", "server is at https://h/v1"),
        (response(204, b""), "hopeless", "HTTP 204"),
        (response(502, b"<html><h1>Bad</h1><p>nginx"), "failed", "HTTP 502: Bad nginx"),
        (response(200, b'{"error": {"code": 429, "message": "slow"}}'), "throttled", "429: slow"),
        (response(200, b'{"error": {"code": 402, "message": "pay"}}'), "hopeless", "402: pay"),
        (response(200, b'{"error": {"message": "oops"}}'), "lost", "no chat completion.*oops"),
        (response(200, b"<html>Welcome</html>"), "lost", "no chat completion.*Welcome"),
        (response(200, completion("x", "stop")[:-9]), "lost", "no chat completion"),
        (response(200, b""), "lost", "no chat completion"),
        (reply("half a", "abort"), "lost", "finish_reason abort"),
        (reply("half a", "error"), "lost", "finish_reason error"),
        (Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"), "lost", "PayloadError"),
        (Cut(b"HTTP/1.1 200 OK\r\nContent-"), "lost", "Disconnected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "lost", ""),
        (b"no HTTP at all\r\n\r\n", "lost", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "lost", ""),
        (CLOSE, "lost", "Disconnected"),
        (HANG, "lost", "no reply within timeout_s"),
        (Later(9.0, reply()), "lost", "no reply within timeout_s"),
    ],
)
def test_kinds_of_ends(answer, kind, says):
    slow = answer is HANG or isinstance(answer, Later)
    found = send(answer, **({"timeout_s": 0.3} if slow else {}))
    assert found.kind == kind
    assert re.search(says, found.error)


def test_no_connection_is_no_lost_reply():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (found,) = sends(endpoint(port))
    assert (found.kind, found.status) == ("failed", None)
    assert f"no connection: ClientConnectorError: Cannot connect to host 127.0.0.1:{port}" in (
        found.error
    )
    (found,) = sends(Endpoint("tiny", "http://no-such-host.invalid/v1", timeout_s=5.0))
    assert found.kind == "failed"


def test_a_connection_that_is_never_made_is_no_lost_reply(monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.jobs.CONNECT_S", 0.2)
    with socket.socket() as full:  # its queue is full: the next connection waits for ever
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            (found,) = sends(endpoint(port, timeout_s=2.0))
    assert found.kind == "failed"
    assert found.error.startswith("no connection")
    assert found.seconds < 1.5


def test_connections_that_a_server_closes_when_idle_lose_nothing():
    with scripted(lambda seen: reply(), idle_s=0.1) as server:
        found = sends(endpoint(server.port), times=4, pause_s=0.2)
    assert [one.kind for one in found] == ["replied"] * 4
    assert (server.connections, len(server.seen)) == (4, 4)


def test_a_connection_is_used_again():
    with scripted(lambda seen: reply()) as server:
        sends(endpoint(server.port), times=5)
    assert server.connections == 1


def test_an_idle_connection_is_closed_before_servers_do(monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.jobs.IDLE_S", 0.1)
    with scripted(lambda seen: reply()) as server:
        sends(endpoint(server.port), times=2, pause_s=0.3)
    assert server.connections == 2


def test_a_connection_closed_under_a_request_counts_as_lost():
    with scripted(lambda seen: CLOSE if seen.number == 1 else reply()) as server:
        found = sends(endpoint(server.port), times=3)
    assert [one.kind for one in found] == ["replied", "lost", "replied"]


def test_a_big_reply():
    text = "words and 😀 " * 400_000
    found = send(reply(text), timeout_s=30.0)
    assert (found.kind, found.reply.text) == ("replied", text)


def test_odd_fields_lose_no_reply():
    body = json.loads(completion("So.", "stop"))
    body["choices"][0] |= {"finish_reason": 3}
    body["choices"][0]["message"]["reasoning"] = {"summary": "s"}
    found = send(response(200, json.dumps(body).encode()))
    assert (found.kind, found.reply[:3]) == ("replied", ("So.", "", ""))


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500, 504])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_key_that_the_server_repeats_is_kept_nowhere(status, escaped):
    shown = KEY.replace("/", "\\/") if escaped else KEY
    echo = f'{{"error": {{"message": "key {shown} is bad"}}, "key": "{shown}"}}'.encode()
    headers = f"Location: http://h/?key={KEY}\r\n" if status == 302 else ""
    found = send(response(status, echo, headers))
    assert KEY not in str(found)
    assert shown.encode() not in (found.body or b"")


def test_a_key_in_a_reply_is_hidden_and_the_reply_kept():
    found = send(reply(f"Your key is {KEY}."))
    assert found.kind == "replied"
    assert KEY.encode() not in found.body
    assert json.loads(found.body)["choices"][0]["message"]["content"] == "Your key is ***."


@pytest.mark.parametrize("key", ["sk-12345", "sk-live+0123456789<abcdef"])
def test_a_key_is_hidden_short_or_escaped(monkeypatch, key):
    monkeypatch.setenv("NT_TEST_KEY", key)
    shown = key.replace("+", "\\u002B").replace("<", "\\u003C")
    found = send(
        response(200, completion("Your key is KEY.", "stop").replace(b"KEY", shown.encode()))
    )
    assert found.reply.text == "Your key is ***."
    assert json.loads(found.body)["choices"][0]["message"]["content"] == "Your key is ***."


def test_the_proxy_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine far.invalid login me password secret\n")
    with scripted(lambda seen: reply()) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        far = Endpoint("tiny", "http://far.invalid/v1", api_key_env="NT_TEST_KEY")
        (found,) = sends(far)
        assert found.kind == "replied"
        assert proxy.seen[0].head.startswith("POST http://far.invalid/v1/chat/completions")
        assert f"Authorization: Bearer {KEY}" in proxy.seen[0].head
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with scripted(lambda seen: reply()) as near:
            sends(endpoint(near.port))
        assert (len(near.seen), len(proxy.seen)) == (1, 1)


def test_a_proxy_that_will_not_do(monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://user:secret@h:1")
    with pytest.raises(ValueError, match="http_proxy: allowed: a proxy of http or https"):
        sends(endpoint(1))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((None, 0.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), ("nan", 0.0), ("inf", 600.0)),
        *(("2.5", 2.5), ("7200", 600.0), ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0)),
        *(("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 600.0)),
        ("Fri, 99 Dec 99999 23:59:59 GMT", 0.0),
    ],
)
def test_how_long_the_server_asks_to_wait(value, seconds):
    assert retry_after(value, 1000.0) == seconds
    assert not math.isnan(retry_after(value, 1000.0))


def test_the_wait_is_read_from_the_response():
    assert send(no(429, headers="Retry-After: 3\r\n")).wait_s == 3.0


WORST = Spent(1, 1000, 9.0)


@pytest.mark.parametrize(
    ("kind", "counts", "spent"),
    [
        ("replied", (30, 50), Spent(1, 80, pytest.approx(0.00013))),
        ("replied", (None, 50), WORST),
        ("replied", (30, None), WORST),
        ("lost", None, WORST),
        ("lost", (30, 50), Spent(1, 80, pytest.approx(0.00013))),  # stopped, and counted
        ("failed", None, Spent()),  # no connection: no server has seen it
        *((kind, None, Spent(1)) for kind in ("throttled", "refused", "barred")),
    ],
)
def test_what_an_attempt_costs(kind, counts, spent):
    server = Endpoint("m", usd_per_million_input=1.0, usd_per_million_output=2.0)
    said = Reply("x", "", "stop", *counts) if counts else None
    assert Attempt(kind, 1.0, reply=said).spent(server, WORST) == spent
