"""The engine behind an address: what it sends, and what it makes of any reply."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from nt_lightning.errors import UserError
from nt_lightning.evaluation.engine import Limits, Prompt, Sampling
from nt_lightning.evaluation.forcing import BudgetForcing, respond
from nt_lightning.evaluation.generation import Generation
from nt_lightning.evaluation.server import Server
from nt_lightning.evaluation.server_engine import ServerEngine
from nt_lightning.requests import progress, tries
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from tests.integration.command import ROOT
from tests.servers.scripted import HANG, Answer, Later, Scripted, Seen, continuation, no, scripted
from tests.tiny import tiny_tokenizer
from tests.unit.traces.chat_templates import byte_tokenizer

GREEDY = Sampling(max_new_tokens=20, temperature=0.0, top_p=1.0, seed=3)
KEY = "sk-canary/0123456789+abcdef"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("NT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "FIRST_WAIT_S", 0.001)


def engine_of(
    server: Scripted, template: str = "llama3", context: int | None = None, **options: Any
) -> ServerEngine:
    url = f"http://127.0.0.1:{server.port}/v1"
    given = Server(**{"model": "m", "base_url": url, "timeout_s": 20.0, **options})
    return ServerEngine(given, PromptFormatter(byte_tokenizer(template)), "llama", context)


def prompts_of(count: int) -> list[Prompt]:
    return [Prompt(f"k{number}", (number, 5, 6), "") for number in range(count)]


def generate(
    engine: ServerEngine,
    prompts: list[Prompt],
    sampling: Sampling = GREEDY,
    limits: Limits | None = None,
) -> list[Generation]:
    """Responses, after a check that each finished one was told once."""
    told: list[tuple[int, Generation]] = []
    counts: list[int] = []
    responses = engine.generate(
        prompts, sampling, limits or Limits(), lambda *one: told.append(one), counts.append
    )
    for index, one in told:
        assert responses[index] == one
    finished = [index for index, one in enumerate(responses) if one.finish_reason != "time"]
    assert sorted(index for index, one in told if one.finish_reason != "time") == finished
    assert len({index for index, _ in told}) == len(told)
    assert counts[-1] == len(finished)
    return responses


def number_of(seen: Seen) -> int:
    return int(seen.body["prompt"][0])


def says_number(seen: Seen) -> bytes:
    return continuation(f"number {number_of(seen)}", tokens=5)


# -- what is sent --------------------------------------------------------------------------------


def test_a_request_of_ids() -> None:
    """Ids as they are, the stop tokens of the template and of the model, no hidden default."""
    with scripted(lambda seen: continuation()) as server:
        generate(engine_of(server), [Prompt("k", (7, 8, 9), "seven", "<think>")])
    (seen,) = server.seen
    assert seen.head.startswith("POST /v1/completions HTTP/1.1\r\n")
    assert seen.raw == (
        b'{"max_tokens": 20, "min_p": 0.0, "model": "m", "prompt": [7, 8, 9], '
        b'"repetition_penalty": 1.0, "stop_token_ids": [1, 4], "temperature": 0.0, "top_k": -1, '
        b'"top_p": 1.0}'
    )


def test_a_request_of_text_leaves_out_what_the_server_puts_in_front() -> None:
    with scripted(lambda seen: continuation()) as server:
        engine = engine_of(server, prompts="text")
        formatter, think = engine.formatter, ThinkModes().with_num_words(40).think
        prompt = Prompt(
            "k", tuple(formatter.prompt_ids("Hi", think)), formatter.prompt_text("Hi", think)
        )
        generate(engine, [prompt._replace(begun=think.prefix)])
    (seen,) = server.seen
    assert prompt.text.startswith("<|begin_of_text|><|start_header_id|>user")
    assert seen.raw == (
        b'{"generation_config": "{\\"min_p\\": 0.0, \\"repetition_penalty\\": 1.0, \\"top_k\\": 0, '
        b'\\"eos_token_id\\": [1, 4], \\"forced_eos_token_id\\": [1, 4], '
        b'\\"do_sample\\": false}", "max_tokens": 21, "model": "m", '
        b'"prompt": "<|start_header_id|>user<|end_header_id|>\\n\\nHi\\n\\nThink carefully before '
        b"answering. Use about 40 words<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
        b'\\n\\n<think>", "temperature": 0.0, "top_p": 1.0}'
    )


def test_a_token_that_cannot_be_left_out_is_refused() -> None:
    """The template renders no BOS, and the tokenizer puts one in front."""
    with scripted(lambda seen: continuation()) as server:
        engine = engine_of(server, prompts="text")
        text = "<|start_header_id|>user<|end_header_id|>\n\nHi"
        ids = engine.formatter.encode_texts([text])[0]
        with pytest.raises(UserError, match="server.prompts is 'text'.*end_header_id.*allowed: id"):
            generate(engine, [Prompt("k", tuple(ids), text)])
    assert not server.seen


def test_a_lost_seam_is_refused() -> None:
    """``Thi`` and ``nk`` are other ids than ``Think``."""
    formatter = PromptFormatter(tiny_tokenizer())
    apart = [token for part in ("Thi", "nk") for token in formatter.encode_texts([part])[0]]
    assert apart != formatter.encode_texts(["Think"])[0]
    engine = ServerEngine(Server("m", prompts="text"), formatter, "llama")
    with pytest.raises(UserError, match="at 'Think'; allowed: ids"):
        generate(engine, [Prompt("k", tuple(apart), "Thi", "nk")])


def test_seeds_are_of_seed_and_key_and_only_for_sampling() -> None:
    sampling = Sampling(max_new_tokens=20, temperature=0.7, top_p=0.9, seed=3)
    with scripted(says_number) as server:
        engine = engine_of(server, concurrency=1)
        generate(engine, prompts_of(2), sampling)
        generate(engine, prompts_of(2))
    sampled, greedy = server.seen[:2], server.seen[2:]
    for number, seen in enumerate(sampled):
        expected = int(hashlib.sha256(f"3/k{number}".encode()).hexdigest()[:8], 16) // 2
        assert (seen.body["seed"], seen.body["temperature"]) == (expected, 0.7)
    assert all("seed" not in seen.body for seen in greedy)


def test_the_longest_reply_is_the_prompts_own_or_what_the_context_leaves() -> None:
    prompts = prompts_of(4)
    prompts[1] = prompts[1]._replace(max_new_tokens=7)
    prompts[2] = prompts[2]._replace(max_new_tokens=50)
    prompts[3] = prompts[3]._replace(ids=(3, *range(24)))
    with scripted(says_number) as server:
        generate(engine_of(server, context=30), prompts)
        with pytest.raises(UserError, match="prompt of 30 tokens leaves no room .* is 30"):
            generate(engine_of(server, context=30), [Prompt("k", tuple(range(30)), "")])
    limits = {number_of(seen): seen.body["max_tokens"] for seen in server.seen}
    assert limits == {0: 20, 1: 7, 2: 20, 3: 5}


def test_a_null_removes_a_field() -> None:
    with scripted(says_number) as server:
        further = {"top_k": None, "min_p": None, "stop_token_ids": None, "priority": 3}
        generate(engine_of(server, extra_body=further), prompts_of(1))
    names = "max_tokens model priority prompt repetition_penalty temperature top_p"
    assert sorted(server.seen[0].body) == names.split()


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"temperature": 0.3}, r"s.extra_body.temperature is 0.3; the evaluation's settings say"),
        ({"seed": 1}, "s.extra_body.seed is 1; the evaluation's settings say it"),
        ({"max_tokens": None}, "s.extra_body leaves max_tokens"),
        ({"prompt": "x"}, "s.extra_body.prompt is 'x'; not allowed"),
        ({"echo": True}, "s.extra_body.echo is True; not allowed"),
        ({"n": 2}, "s.extra_body.n: not allowed"),
        ({"api_key": "x"}, "s.extra_body: api_key: not allowed"),
    ],
)
def test_what_is_said_elsewhere_is_refused(further: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Server("m", extra_body=further).check("s")
    Server("m", extra_body={"seed": None, "top_k": 20}).check("s")


# -- what a reply becomes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *[("stop", "stop"), ("length", "length"), ("repetition", "loop")],
        *[("content_filter", "time"), ("tool_calls", "time"), (None, "time")],
    ],
)
def test_finish_reasons(said: str | None, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server did not finish is not evaluated; the log says how many and why."""
    with scripted(lambda seen: continuation("abc", said, tokens=4)) as server:
        (response,) = generate(engine_of(server), [Prompt("k", (7,), "", "<think>")])
    assert response == Generation("<think>abc", 4, reason)
    told = f"finish_reason '{said}'" if said else "no finish_reason"
    assert (f"1 of 1 ended with {told}" in caplog.text) == (reason == "time")


def test_a_reply_that_the_server_gave_up_is_asked_again(no_waiting: None) -> None:
    reasons = ("abort", "error", "stop")
    with scripted(lambda seen: continuation("abc", reasons[seen.number])) as server:
        (response,) = generate(engine_of(server), prompts_of(1))
    assert (response.finish_reason, len(server.seen)) == ("stop", 3)


def test_tokens_are_the_servers_count_or_those_of_the_text() -> None:
    """Of six letters, a byte each, and the stop token where there was one."""
    reasons = ("stop", "length", "stop")
    counts = (None, None, 4)
    with scripted(
        lambda seen: continuation("abcdef", reasons[number_of(seen)], counts[number_of(seen)])
    ) as server:
        responses = generate(engine_of(server), prompts_of(3))
    assert [response.num_tokens for response in responses] == [7, 6, 4]


def test_the_forced_token_of_a_text_is_not_counted() -> None:
    """Asked for 20 + 1 tokens: 20 of them are the response, or up to 20 with their stop token."""
    replies = [continuation("a" * 20, "length", 21), continuation("a" * 19, "stop", 20)]
    with scripted(lambda seen: replies[seen.number]) as server:
        engine = engine_of(server, template="smollm2", prompts="text", concurrency=1)
        prompts = [Prompt(str(n), tuple(engine.encode(f"{n}")), f"{n}") for n in range(2)]
        cut, whole = generate(engine, prompts)
    assert [seen.body["max_tokens"] for seen in server.seen] == [21, 21]
    assert (cut.num_tokens, cut.finish_reason) == (20, "length")
    assert (whole.num_tokens, whole.finish_reason) == (20, "stop")


def test_a_loop_is_cut_where_the_other_engine_ends_it() -> None:
    """512 tokens of exact rounds, looked for every 32 tokens: 10 + 512 are 522, so at 544."""
    text = "Hmm, well." + "ab" * 700 + " Answer: 7"
    with scripted(lambda seen: continuation(text, "stop", 1410)) as server:
        engine = engine_of(server)
        (cut,) = generate(engine, [Prompt("k", (7,), "", "<think>")])
        loose = Sampling(20, 0.0, 1.0, 3, stop_loops=False)
        (whole,) = generate(engine, [Prompt("k", (7,), "", "<think>")], loose)
    assert cut == Generation("<think>" + text[:544], 544, "loop")
    assert whole == Generation("<think>" + text, 1410, "stop")


def test_think_tags_that_are_special_tokens_stay() -> None:
    tokenizer = byte_tokenizer("smollm2")
    tags = [AddedToken(tag, special=True) for tag in ("<think>", "</think>")]
    tokenizer.add_tokens(tags, special_tokens=True)
    formatter = PromptFormatter(tokenizer)
    said = "<think>a</think>b<|im_start|>c<|im_end|>"
    with scripted(lambda seen: continuation(said, "stop", 9)) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        engine = ServerEngine(Server("m", url), formatter, "llama")
        (response,) = generate(engine, prompts_of(1))
    assert response.text == "<think>a</think>bc"
    assert server.seen[0].body["skip_special_tokens"] is False
    with pytest.raises(UserError, match="think tags are special tokens.*allowed: ids"):
        ServerEngine(Server("m", prompts="text"), formatter, "llama")


def test_responses_are_in_the_order_of_the_prompts() -> None:
    def late(seen: Seen) -> Later:
        return Later(0.05 * (5 - number_of(seen)), says_number(seen))

    with scripted(late) as server:
        responses = generate(engine_of(server), prompts_of(5))
        assert server.most_at_once == 5
    assert [one.text for one in responses] == [f"number {number}" for number in range(5)]


def test_equal_prompts() -> None:
    """Another key is another response; the same key twice is one."""
    prompts = [Prompt("a", (1, 5), ""), Prompt("b", (1, 5), ""), Prompt("a", (1, 5), "")]
    with scripted(lambda seen: continuation(str(seen.number))) as server:
        first, second, third = generate(engine_of(server, concurrency=1), prompts)
    assert len(server.seen) == 2
    assert (first.text, second.text, third.text) == ("0", "1", "0")


def test_forcing_goes_on_behind_a_reply() -> None:
    """The thought is cut at 4 bytes, closed, and the rest is asked for behind it."""
    replies = [continuation("abcd", "length", 4), continuation("Answer: 7", "stop", 10)]
    with scripted(lambda seen: replies[seen.number]) as server:
        engine = engine_of(server)
        prompt = Prompt("k", (7, 8), "seven", "<think>")
        sampling = Sampling(100, 0.0, 1.0, 3)
        forcing = BudgetForcing(max_thinking_tokens=4)
        (response,) = respond(
            engine, [prompt], sampling, forcing, Limits(), lambda *_: None, lambda _: None
        )
    text = "<think>abcd\n</think>\n\nAnswer: 7"
    assert (response.text, response.num_tokens) == (text, 4 + len("\n</think>\n\n") + 10)
    first, second = (seen.body for seen in server.seen)
    assert (first["prompt"], first["max_tokens"]) == ([7, 8], 4)
    assert second["prompt"] == [7, 8, *engine.encode("abcd"), *engine.encode("\n</think>\n\n")]


# -- servers that do not do what they should -----------------------------------------------------


def test_faults_are_tried_again(no_waiting: None) -> None:
    faults: list[bytes | None] = [no(500), no(429, headers="Retry-After: 0.02\r\n"), HANG, b""]

    def answer(seen: Seen) -> bytes | None:
        return faults[seen.number] if seen.number < len(faults) else says_number(seen)

    with scripted(answer) as server:
        (response,) = generate(engine_of(server, timeout_s=0.3), prompts_of(1))
    assert (response.text, len(server.seen)) == ("number 0", 5)


def test_what_is_refused_is_not_evaluated(caplog: pytest.LogCaptureFixture) -> None:
    def answer(seen: Seen) -> bytes:
        return no(400, "too long") if number_of(seen) == 2 else says_number(seen)

    with scripted(answer) as server:
        engine = engine_of(server, revision="a", concurrency=1)
        responses = generate(engine, prompts_of(5))
        again = generate(engine, prompts_of(5))
    assert [one.finish_reason for one in responses] == ["stop", "stop", "time", "stop", "stop"]
    assert responses[2] == Generation("", 0, "time")
    assert again == responses
    assert len(server.seen) == 5
    said = "m: 1 of 5 have no reply; the first one: HTTP 400: too long"
    assert [record.message for record in caplog.records].count(said) == 2


def test_no_server(no_waiting: None) -> None:
    with scripted(says_number) as server:
        engine = engine_of(server)
    url = f"http://127.0.0.1:{server.port}/v1/completions"
    with pytest.raises(UserError, match=f"m: {url}: 2 requests in a row had no reply.*no connecti"):
        generate(engine, prompts_of(2))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (no(404, "The model `m` does not exist."), "HTTP 404: The model `m` does not exist."),
        (no(400, "Server is pinned to 'x'"), "20 requests in a row.*HTTP 400: Server is pinned"),
        (no(401, "Incorrect API key"), "HTTP 401: Incorrect API key"),
    ],
)
def test_no_such_model(reply: bytes, said: str) -> None:
    with scripted(lambda seen: reply) as server, pytest.raises(UserError, match=said):
        generate(engine_of(server), prompts_of(30))


# -- limits --------------------------------------------------------------------------------------


def test_behind_the_deadline_nothing_is_asked() -> None:
    with scripted(says_number) as server:
        limits = Limits(deadline=time.monotonic() - 1)
        responses = generate(engine_of(server), prompts_of(3), limits=limits)
    assert responses == [Generation("", 0, "time")] * 3
    assert not server.seen


def test_at_the_deadline_what_is_under_way_is_waited_for() -> None:
    with scripted(lambda seen: Later(0.4, says_number(seen))) as server:
        limits = Limits(deadline=time.monotonic() + 1.0)
        engine = engine_of(server, concurrency=2)
        responses = generate(engine, prompts_of(40), limits=limits)
    finished = [one for one in responses if one.finish_reason == "stop"]
    assert 2 <= len(finished) == len(server.seen) <= 8
    assert all(one == Generation("", 0, "time") for one in responses if one not in finished)


def test_the_cap_on_tokens_is_of_one_call(caplog: pytest.LogCaptureFixture) -> None:
    """A request may need 3 + 20 tokens and has 3 + 5: the fifth at 32 + 23 would pass 50."""
    limits = Limits(max_tokens=50)
    with scripted(says_number) as server:
        engine = engine_of(server, revision="a", concurrency=1)
        first = generate(engine, prompts_of(10), limits=limits)
        assert [one.finish_reason for one in first] == ["stop"] * 4 + ["time"] * 6
        assert "m: 6 of 10 not asked: one request may cost up to 23 tokens" in caplog.text
        second = generate(engine, prompts_of(10), limits=limits)
        assert [one.finish_reason for one in second] == ["stop"] * 8 + ["time"] * 2
    assert len(server.seen) == 8


def test_a_wish_to_stop_is_heard_before_anything_is_asked() -> None:
    def poll() -> None:
        raise InterruptedError

    with scripted(says_number) as server, pytest.raises(InterruptedError):
        generate(engine_of(server), prompts_of(1), limits=Limits(poll=poll))
    assert not server.seen


# -- what is kept --------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_without_a_name_nothing_is_kept(cache: Path) -> None:
    with scripted(says_number) as server:
        engine = engine_of(server)
        generate(engine, prompts_of(3))
        assert not files(cache)
        generate(engine, prompts_of(3))
    assert len(server.seen) == 6
    assert not list((cache / "served").iterdir())
    assert not engine.is_known()


def test_under_a_name_a_second_call_asks_nothing() -> None:
    with scripted(says_number) as server:
        first = generate(engine_of(server, revision="a"), prompts_of(3))
    with scripted(says_number) as moved:  # the address is no part of what was asked
        assert generate(engine_of(moved, revision="a"), prompts_of(3)) == first
        assert not moved.seen
        generate(engine_of(moved, revision="b"), prompts_of(3))
    assert len(moved.seen) == 3


@contextmanager
def completing(server: Scripted, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.servers.completing", str(server.port)]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def some(seen: Seen) -> bytes | None:
    return says_number(seen) if seen.number < 10 else HANG


def finished(process: subprocess.Popen[str]) -> list[str]:
    told, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return json.loads(told)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_only_what_is_missing_is_asked(number: signal.Signals) -> None:
    late: Answer = lambda seen: Later(0.2, says_number(seen))  # noqa: E731
    with scripted(some if number == signal.SIGKILL else late) as server:
        with completing(server, 30, "a") as process:
            wait_for(lambda: len(server.seen) >= 14)
            time.sleep(0.2)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "the same command goes on where it was" in said
        else:
            assert process.returncode == -9
        before = len(server.seen)
        server.answer = says_number
        with completing(server, 30, "a") as process:
            assert finished(process) == [f"number {number}" for number in range(30)]
    first, second = server.seen[:before], server.seen[before:]
    asked = [number_of(seen) for seen in first]
    kept = asked[:10] if number == signal.SIGKILL else asked  # the rest had no reply
    assert sorted(kept + [number_of(seen) for seen in second]) == list(range(30))
    assert before < 30


def test_what_a_killed_call_has_left_is_swept(cache: Path) -> None:
    with scripted(some) as server:
        with completing(server, 30) as process:
            wait_for(lambda: len(server.seen) == 14)
            process.kill()
            process.wait()
        assert files(cache)
        server.answer = says_number
        generate(engine_of(server), prompts_of(1))
    assert not files(cache)


def test_the_key_is_in_no_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("NT_TEST_KEY", KEY)

    def answer(seen: Seen) -> bytes:
        said = continuation(f"Your key is {KEY}.")
        return says_number(seen) if number_of(seen) else said

    with scripted(answer) as server:
        engine = engine_of(server, revision="a", api_key_env="NT_TEST_KEY")
        responses = generate(engine, prompts_of(2))
    assert f"Authorization: Bearer {KEY}" in server.seen[0].head
    assert responses[0].text == "Your key is ***."
    assert KEY not in caplog.text
    assert KEY not in str(engine.about())
    assert files(cache)
    for path in files(cache):
        assert KEY.encode() not in path.read_bytes()
        assert b"canary" not in path.read_bytes()


def test_progress_is_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "REFRESH_S", 0.05)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.05)
    with scripted(lambda seen: Later(0.2, says_number(seen))) as server:
        generate(engine_of(server, concurrency=1), prompts_of(4))
    lines = [record.message for record in caplog.records if " requests, " in record.message]
    assert any(line.startswith("2 of 4 requests, ") for line in lines)


def test_it_works_without_prompts() -> None:
    engine = ServerEngine(Server("m"), PromptFormatter(byte_tokenizer("llama3")), "llama")
    assert generate(engine, []) == []


def test_what_may_not_stay_leaves_nothing_behind(cache: Path) -> None:
    """Of a confidential benchmark, also where the weights have a name."""
    with scripted(lambda seen: continuation("The canary.")) as server:
        engine = engine_of(server, revision="a")
        generate(engine, prompts_of(2), limits=Limits(may_keep=False))
        generate(engine, prompts_of(2), limits=Limits(may_keep=False))
        assert len(server.seen) == 4
    assert [path for path in cache.rglob("*") if path.is_file()] == []
