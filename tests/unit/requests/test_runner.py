"""Runs against a server that says what the test wants: what is sent, kept, counted and stopped."""

import socket
import threading
import time

import pytest

from nt_lightning.errors import UserError
from nt_lightning.requests.ask import ask
from nt_lightning.requests.budget import Caps, Spent
from nt_lightning.requests.jobs import FEW, IN_A_ROW, Asked, Job
from nt_lightning.requests.request import Request, messages_of, read_reply
from nt_lightning.requests.store import RequestStore
from nt_lightning.requests.tries import MAX_ATTEMPTS
from tests.servers.asking import endpoint, requests
from tests.servers.scripted import CLOSE, HANG, Later, no, reply, scripted

RIGHT = reply("a reply", tokens=(7, 3))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.tries.FIRST_WAIT_S", 0.005)


@pytest.fixture
def store(tmp_path):
    with RequestStore(tmp_path / "requests.sqlite") as opened:
        yield opened


def ask_for(store, server, num, caps=None, repair=None, total=None, **options):
    """Ask ``question 0`` and so on."""
    there = endpoint(server.port, **options)
    wanted = num if not isinstance(num, int) else requests(there, num)
    total = total if total is not None else (num if isinstance(num, int) else len(num))
    return ask([Job("tiny", there, wanted, total, repair)], store, "test", caps or Caps())


def request_of(text):
    return Request.of(endpoint(1).body(messages_of(None, text)), 64)


def states(store, num):
    found = store.find([request_of(f"question {number}").key for number in range(num)])
    return [stored.state for stored in found.values()]


def test_all_are_asked_once_and_a_second_run_sends_nothing(store):
    with scripted(lambda seen: RIGHT) as server:
        asked = ask_for(store, server, 200)
        assert asked == Asked(200, 0, 200, 0, 0, 0, Spent(200, 2000, 0.0), None)
        assert sorted(server.texts) == sorted(f"question {number}" for number in range(200))
        again = ask_for(store, server, 200)
    assert again == Asked(200, 200, 0, 0, 0, 0, Spent(), None)
    assert len(server.seen) == 200
    assert states(store, 200) == ["replied"] * 200


def test_never_more_at_a_time_than_allowed(store):
    with scripted(lambda seen: Later(0.02, RIGHT)) as server:
        ask_for(store, server, 100, concurrency=7)
    assert server.most_at_once == 7


def test_the_same_question_twice_is_asked_once(store):
    with scripted(lambda seen: Later(0.02, RIGHT)) as server:
        asked = ask_for(store, server, [request_of("a"), request_of("a"), request_of("b")])
    assert sorted(server.texts) == ["a", "b"]
    assert (asked.replied, asked.not_asked) == (2, 0)


def test_what_fails_is_tried_again_until_it_is_given_up(store):
    with scripted(lambda seen: no(500) if seen.text == "question 3" else RIGHT) as server:
        asked = ask_for(store, server, 10)
        assert (asked.replied, asked.gave_up) == (9, 1)
        assert server.texts.count("question 3") == MAX_ATTEMPTS
        assert asked.spent == Spent(9 + MAX_ATTEMPTS, 90, 0.0)
        ask_for(store, server, 10)
    assert server.texts.count("question 3") == 2 * MAX_ATTEMPTS
    assert len(server.seen) == 9 + 2 * MAX_ATTEMPTS


@pytest.mark.parametrize("broken", [HANG, CLOSE])
def test_a_lost_reply_is_counted_at_its_worst(store, broken):
    with scripted(lambda seen: RIGHT if seen.number else broken) as server:
        asked = ask_for(store, server, [request_of("a")], timeout_s=0.2)
    assert len(server.seen) == 2
    worst = request_of("a").prompt_tokens() + 64
    assert asked.spent == Spent(2, worst + 10, 0.0)
    assert store.spent("test") == asked.spent


def test_a_server_that_has_no_time_for_long(store, monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.tries.PATIENCE_S", 0.05)
    with scripted(lambda seen: no(429) if seen.text == "question 3" else RIGHT) as server:
        asked = ask_for(store, server, 10)
    assert (asked.replied, asked.gave_up) == (9, 1)
    assert 2 <= server.texts.count("question 3") < 50


def test_waiting_for_a_slot_is_no_impatience(store, monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.tries.PATIENCE_S", 0.3)
    last = {"question 19": [no(429), RIGHT]}
    with scripted(
        lambda seen: last[seen.text].pop(0) if seen.text in last else Later(0.05, RIGHT)
    ) as server:
        asked = ask_for(store, server, 20, concurrency=1)
    assert asked.replied == 20


def test_a_429_keeps_its_slot_so_that_the_others_are_not_refused_in_turn(store, monkeypatch):
    monkeypatch.setattr("nt_lightning.requests.tries.FIRST_WAIT_S", 0.05)
    refused = []

    def full(seen):
        if server.at_once >= 2:
            refused.append(seen)
            return no(429)
        return Later(0.03, RIGHT)

    with scripted(full) as server:
        asked = ask_for(store, server, 30, concurrency=32)
    assert asked.replied == 30
    assert len(refused) < 100  # each of the others in turn, at once: thousands


def test_all_slots_wait_as_long_as_the_server_says(store):
    times = []

    def busy(seen):
        times.append(time.monotonic())
        return no(429, headers="Retry-After: 0.5\r\n") if seen.number < 8 else RIGHT

    with scripted(busy) as server:
        asked = ask_for(store, server, 50, concurrency=8)
    assert (asked.replied, len(server.seen)) == (50, 58)
    assert times[8] - times[0] > 0.45


def test_what_is_refused_is_not_sent_again(store):
    with scripted(lambda seen: no(400, "too long") if "5" in seen.text else RIGHT) as server:
        asked = ask_for(store, server, 10, concurrency=1)
        assert (asked.replied, asked.refused) == (9, 1)
        again = ask_for(store, server, 10)
    assert (again.found, again.replied) == (10, 0)
    assert len(server.seen) == 10


def test_a_server_that_never_replied_refuses_nothing_for_good(store):
    """Some say 400 to a wrong key: mended, it must not have lost the first questions."""
    with scripted(lambda seen: no(400, "API key not valid")) as server:
        with pytest.raises(UserError, match="20 requests in a row.*HTTP 400: API key not valid"):
            ask_for(store, server, 100)
        assert IN_A_ROW <= len(server.seen) < IN_A_ROW + 32
        server.answer = lambda seen: RIGHT
        assert ask_for(store, server, 100).replied == 100


def test_a_few_refusals_before_the_first_reply_do_not_stop_the_run(store):
    def slow(seen):
        return no(400, "too long") if seen.number < 15 else Later(0.3, RIGHT)

    with scripted(slow) as server:
        asked = ask_for(store, server, 40)
        assert (asked.replied, asked.gave_up, asked.refused) == (25, 0, 15)
        again = ask_for(store, server, 40)
    assert (again.found, len(server.seen)) == (40, 40)


def test_twenty_refused_in_a_row_stop_the_run(store):
    with scripted(lambda seen: no(400, "bad") if seen.number > 30 else RIGHT) as server:
        with pytest.raises(UserError, match="tiny: http.*20 requests in a row.*HTTP 400: bad"):
            ask_for(store, server, 1000, concurrency=4)
        assert 31 + IN_A_ROW <= len(server.seen) < 31 + IN_A_ROW + 4
        assert (
            sorted(states(store, 1000)) == ["gave_up"] * (len(server.seen) - 31) + ["replied"] * 31
        )
        server.answer = lambda seen: RIGHT  # mended: nothing is lost
        assert ask_for(store, server, 1000).replied == 1000 - 31


def test_replies_of_an_earlier_run_do_not_vouch_for_a_server(store):
    """It has been started again with a smaller window, say, and refuses everything."""
    with scripted(lambda seen: RIGHT) as server:
        ask_for(store, server, 20)
        server.answer = lambda seen: no(400, "max_tokens is too large")
        for _ in range(3):
            with pytest.raises(UserError, match="20 requests in a row.*max_tokens is too large"):
                ask_for(store, server, 200)
        assert set(states(store, 200)) == {"replied", "gave_up"}
        server.answer = lambda seen: RIGHT
        asked = ask_for(store, server, 200)
    assert (asked.found, asked.replied, asked.refused) == (20, 180, 0)


def numbered(seen):
    return int(seen.text.removeprefix("question "))


def test_refused_ones_in_front_keep_no_run_from_getting_further(store):
    with scripted(lambda seen: no(400, "long") if numbered(seen) < 100 else RIGHT) as server:
        before = 0
        for _ in range(5):
            try:
                asked = ask_for(store, server, 200, concurrency=4)
            except UserError:
                sent = server.texts[before:]
                assert set(sent).isdisjoint(server.texts[:before])  # others than in the runs before
                before = len(server.texts)
            else:
                break
        assert (asked.found, asked.replied, asked.refused, asked.gave_up) == (0, 100, 100, 0)
        assert len(server.seen) < 300
        assert ask_for(store, server, 200).found == 200


def test_refused_ones_at_the_end_let_the_run_end(store):
    """And what has been paid becomes a pool."""
    with scripted(lambda seen: no(400, "long") if numbered(seen) >= 140 else RIGHT) as server:
        for _ in range(6):
            try:
                asked = ask_for(store, server, 200, concurrency=4)
            except UserError:
                continue
            break
    assert (asked.total, asked.found, asked.gave_up) == (200, 140, 60)


def test_all_refused_again_still_say_why(store):
    with scripted(lambda seen: no(400, "wrong key")) as server:
        for _ in range(2):
            with pytest.raises(UserError, match="5 requests in a row.*HTTP 400: wrong key"):
                ask_for(store, server, 5)


def test_a_refused_repair_is_final_and_not_counted(store):
    def repair(request):
        return request_of("again") if request.key == request_of("question 3").key else None

    with scripted(lambda seen: no(400, "long") if seen.text == "again" else RIGHT) as server:
        asked = ask_for(store, server, 10, repair=repair, concurrency=1)
        assert (asked.replied, asked.refused, asked.gave_up) == (10, 0, 0)
    assert store.find([request_of("again").key]).popitem()[1].state == "refused"


def test_the_same_question_refused_twice(store):
    wanted = [request_of("a"), request_of("b"), request_of("b")]
    with scripted(lambda seen: no(400) if seen.text == "b" else RIGHT) as server:
        asked = ask_for(store, server, wanted, concurrency=1)
    assert (asked.replied, asked.not_asked) == (1, 0)
    assert store.find([request_of("b").key]).popitem()[1].state == "refused"


def test_a_question_that_a_filter_bars_does_not_stop_the_others(store):
    with scripted(lambda seen: no(403, "flagged") if "5" in seen.text else RIGHT) as server:
        asked = ask_for(store, server, 50)
        assert (asked.replied, asked.gave_up) == (45, 5)
        again = ask_for(store, server, 50)
    assert (again.found, again.gave_up) == (45, 5)


@pytest.mark.parametrize("status", [401, 402, 404, 301])
def test_what_is_hopeless_stops_at_once(store, status):
    with scripted(lambda seen: no(status, "see the manual")) as server:
        with pytest.raises(UserError) as caught:
            ask_for(store, server, 1000)
        assert len(server.seen) <= 16  # those that went together
        url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
        assert str(caught.value) == f"tiny: {url}: HTTP {status}: see the manual"
        server.answer = lambda seen: RIGHT
        assert ask_for(store, server, 20).replied == 20


def test_what_is_hopeless_later_on_loses_no_reply(store):
    def empty(seen):
        return no(402, "no money") if seen.number == 50 else Later(0.05, RIGHT)

    with scripted(empty) as server, pytest.raises(UserError, match="no money"):
        ask_for(store, server, 1000)
    assert len(states(store, 1000)) == len(server.seen) - 1


def test_a_server_that_is_not_there_stops_after_a_few(store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=f"{FEW} requests in a row had no reply.*127.0.0.1:{port}"):
        ask_for(store, type("Nobody", (), {"port": port}), 1000, concurrency=2)
    assert store.spent("test").tokens == 0
    assert store.spent("test").requests == 0  # no server has seen one


def test_an_error_of_who_makes_the_requests_loses_no_reply(store):
    def wanted():
        for number in range(10):
            yield request_of(f"question {number}")
        raise ZeroDivisionError("of the caller")

    with (
        scripted(lambda seen: Later(0.2, RIGHT)) as server,
        pytest.raises(ZeroDivisionError, match="of the caller"),
    ):
        ask_for(store, server, wanted(), total=1000)
    assert len(server.seen) == 10
    assert states(store, 10) == ["replied"] * 10


def test_a_store_that_cannot_be_written_stops_before_more_is_paid(store, monkeypatch):
    append, events = store.append, []

    def full(event, done):
        events.append(event)
        if len(events) > 100:
            threading.Thread(target=done, args=(OSError("disk is full"),)).start()
        else:
            append(event, done)

    monkeypatch.setattr(store, "append", full)
    with (
        scripted(lambda seen: RIGHT) as server,
        pytest.raises(UserError, match="requests.sqlite cannot be written: disk is full"),
    ):
        ask_for(store, server, 1000, concurrency=8)
    assert len(server.seen) == sum(event.state == "sent" for event in events[:100])


def test_two_servers_work_at_the_same_time(store):
    with scripted(lambda seen: Later(0.1, RIGHT)) as one, scripted(lambda seen: RIGHT) as two:
        jobs = []
        for server, num in ((one, 16), (two, 100)):
            there = endpoint(server.port, extra_body={"port": server.port})
            jobs.append(Job(f"on {server.port}", there, requests(there, num), num))
        begun = time.monotonic()
        asked = ask(jobs, store, "test", Caps())
    assert (asked.total, asked.replied) == (116, 116)
    assert (len(one.seen), len(two.seen)) == (16, 100)
    assert time.monotonic() - begun < 5


def test_a_reply_of_no_use_is_repaired_once(store):
    def repair(request):
        reply_text = read_reply(store.find([request.key])[request.key].body).text
        return request_of(f"again: {request.key.hex()}") if reply_text == "bad" else None

    with scripted(
        lambda seen: reply("bad") if seen.text in ("question 3", "question 4") else RIGHT
    ) as server:
        asked = ask_for(store, server, 10, repair=repair)
        assert (asked.replied, len(server.seen)) == (10, 12)
        ask_for(store, server, 10, repair=repair)
    assert len(server.seen) == 12


def test_a_question_under_way_is_not_repaired_for_its_double(store):
    repaired = []

    def repair(request):
        repaired.append(store.is_final(request.key))

    with scripted(lambda seen: Later(0.05, RIGHT)) as server:
        ask_for(store, server, [request_of("a"), request_of("a")], repair=repair)
    assert repaired == [True]


def test_nothing_to_ask(store):
    with scripted(lambda seen: RIGHT) as server:
        assert ask_for(store, server, 0) == Asked(0, 0, 0, 0, 0, 0, Spent(), None)


# Hard caps: what the server has counted is what must not pass them.


def counting(log):
    def answer(seen):
        prompt, words = 20 + seen.number % 30, 1 + (seen.number * 37) % 64
        if seen.number % 7 == 3:
            log.append((1, 0))
            return no(429)
        log.append((1, prompt + words))
        return CLOSE if seen.number % 11 == 5 else reply("a", tokens=(prompt, words))

    return answer


@pytest.mark.parametrize("cap", ["max_requests", "max_tokens"])
def test_several_runs_together_stay_below_a_cap(store, cap):
    log = []
    with scripted(counting(log)) as server:
        for most in (40, 80, 80, 120):
            caps = Caps(**{cap: most if cap == "max_requests" else most * 500})
            asked = ask_for(store, server, 1000, caps)
            assert asked.capped == f"caps.{cap} {getattr(caps, cap)}"
            assert asked.not_asked == 1000 - asked.found - asked.replied > 0
            requests_sent, tokens = (sum(values) for values in zip(*log, strict=True))
            assert requests_sent == len(server.seen)
            assert (requests_sent if cap == "max_requests" else tokens) <= getattr(caps, cap)
            spent = store.spent("test")
            assert spent.requests == requests_sent
            assert spent.tokens >= tokens
            if cap == "max_requests":
                assert spent.requests == most  # and it is used up
            else:  # but for the worst of one request
                assert spent.tokens > most * 500 - 300


def test_money_is_capped_too(store):
    prices = {"usd_per_million_input": 1e3, "usd_per_million_output": 1e4}
    with scripted(lambda seen: reply("a", tokens=(10, 20))) as server:
        asked = ask_for(store, server, 1000, Caps(max_usd=5.0), **prices)
    assert asked.capped == "caps.max_usd 5.0"
    assert asked.spent.usd == pytest.approx(0.21 * len(server.seen))
    assert 5.0 - 2.0 < asked.spent.usd <= 5.0


def test_what_is_found_costs_nothing(store):
    with scripted(lambda seen: RIGHT) as server:
        ask_for(store, server, 10)
        asked = ask_for(store, server, 10, Caps(max_requests=10))
    assert (asked.found, asked.capped) == (10, None)


FREE = {"usd_per_million_input": 0.0, "usd_per_million_output": 0.0}


@pytest.mark.parametrize("given", [{}, {"usd_per_million_input": 1.0}])
def test_a_cap_on_money_needs_prices(store, given):
    with (
        scripted(lambda seen: RIGHT) as server,
        pytest.raises(UserError, match="max_usd 5.0 caps nothing without .*usd_per_million_output"),
    ):
        ask_for(store, server, 10, Caps(max_usd=5.0), **given)
    assert server.seen == []


def test_a_template_that_is_longer_than_thought_is_learned(store):
    """Only what went before the first reply can pass a cap."""
    with scripted(lambda seen: reply("a", tokens=(900, 3))) as server:
        asked = ask_for(store, server, 100, Caps(max_tokens=10_000), concurrency=1)
    assert asked.capped == "caps.max_tokens 10000"
    assert 9000 < asked.spent.tokens <= 10_000
    assert (
        asked.room
        == "one request may cost up to 965 tokens (prompt and max_tokens), the cap leaves 67"
    )


def test_behind_a_cap_what_the_store_has_is_still_counted(store):
    with scripted(lambda seen: RIGHT) as server:
        ask_for(store, server, [request_of(f"question {n}") for n in range(5, 10)])
        asked = ask_for(store, server, 10, Caps(max_requests=7), concurrency=1)
    assert (asked.found, asked.replied, asked.not_asked) == (5, 2, 3)
    assert asked.capped == "caps.max_requests 7"


def test_what_is_sure_and_what_is_not_are_apart(store):
    said = [no(429), CLOSE, RIGHT]
    with scripted(lambda seen: said[min(seen.number, 2)]) as server:
        asked = ask_for(store, server, [request_of("a")])
    worst = request_of("a").prompt_tokens() + 64
    assert (asked.sure, asked.unsure) == (Spent(3, 10), Spent(1, worst))
    assert (asked.throttled, asked.spent) == (1, Spent(3, worst + 10))
    assert store.unsure("test") == Spent(1, worst, 0.0)
    assert store.cost() == Spent()
    store.find([request_of("a").key, request_of("never").key])
    assert store.cost() == asked.spent


def test_a_cap_of_nothing_sends_nothing(store):
    with scripted(lambda seen: RIGHT) as server:
        asked = ask_for(store, server, 10, Caps(max_usd=0.0, max_tokens=0), **FREE)
    assert (asked.not_asked, asked.capped) == (10, "caps.max_tokens 0")
    assert server.seen == []
