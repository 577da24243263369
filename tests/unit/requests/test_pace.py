"""How many go at a time, in simulated time, against servers whose capacity is known."""

import asyncio
import random
import selectors
from contextlib import contextmanager

import pytest

from nt_lightning.requests.pace import Pace


class Leap(selectors.DefaultSelector):
    """A selector that does not wait: what would pass of time is added to a clock."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(0)


@contextmanager
def simulated():
    clock = Leap()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        yield runner.run, loop.time


class Server:
    """Holds ``capacity`` requests and says 429 to the others; each takes ``latency_s``.

    With ``speed`` it refuses none and shares its time among them, as a local engine does.
    """

    def __init__(self, capacity, latency_s=2.0, speed=None):
        self.capacity, self.latency_s, self.speed = capacity, latency_s, speed
        self.at_once = self.done = self.refused = 0
        self.draws = random.Random(0)

    async def ask(self):
        """Seconds that the reply took, or None for a 429."""
        if self.at_once >= self.capacity:
            self.refused += 1
            return None
        self.at_once += 1
        seconds = self.latency_s * self.draws.uniform(0.8, 1.2)
        if self.speed is not None:
            seconds = max(seconds, self.at_once / self.speed)
        await asyncio.sleep(seconds)
        self.at_once -= 1
        self.done += 1
        return seconds


async def worker(pace, server, now, end_s):
    """As the runner does it: who is refused keeps its slot for a while."""
    while now() < end_s:
        async with pace.slot():
            seconds = await server.ask()
            if seconds is None:
                pace.troubled()
                await asyncio.sleep(server.draws.uniform(0, 2.0))
            elif seconds > pace.timeout_s:
                pace.troubled()
            else:
                pace.replied(seconds)


async def observe(pace, server, now, seconds, changes=()):
    """Time, number under way and slots, every half second, with changes of the capacity."""
    end_s, seen = now() + seconds, []
    workers = [asyncio.create_task(worker(pace, server, now, end_s)) for _ in range(pace.most)]
    changes = list(changes)
    while now() < end_s:
        await asyncio.sleep(0.5)
        while changes and now() > changes[0][0]:
            server.capacity = changes.pop(0)[1]
        seen.append((now(), server.at_once, pace.limit))
    await asyncio.gather(*workers)
    return seen


def mean(seen, start, stop):
    values = [at_once for at, at_once, _ in seen if start <= at < stop]
    return sum(values) / len(values)


@pytest.mark.parametrize("capacity", [5, 40, 150])
def test_the_number_finds_the_capacity(capacity):
    with simulated() as (run, now):
        server, pace = Server(capacity), Pace(256, 100.0, now)
        seen = run(observe(pace, server, now, 240.0))
    assert 0.6 * capacity < mean(seen, 120, 240) <= capacity
    assert server.refused < 0.6 * server.done


def test_it_follows_a_capacity_that_falls_and_recovers():
    with simulated() as (run, now):
        server, pace = Server(80), Pace(256, 100.0, now)
        seen = run(observe(pace, server, now, 900.0, [(200.0, 8), (450.0, 80)]))
    assert mean(seen, 100, 200) > 0.6 * 80
    assert 0.5 * 8 < mean(seen, 300, 450) <= 8
    assert mean(seen, 800, 900) > 0.6 * 80


def test_without_trouble_all_slots_are_used_soon():
    with simulated() as (run, now):
        server, pace = Server(10_000), Pace(256, 100.0, now)
        seen = run(observe(pace, server, now, 60.0))
    assert mean(seen, 20, 50) > 250
    assert all(limit <= 256 for *_, limit in seen)


def test_slow_replies_stop_the_growth_before_the_time_limit():
    with simulated() as (run, now):
        server, pace = Server(10_000, latency_s=1.0, speed=4.0), Pace(256, 20.0, now)
        seen = run(observe(pace, server, now, 600.0))
    # 256 at a time would take 64 s each; half of the limit are 10 s, four fifths 16 s
    assert 0.3 * 40 < mean(seen, 300, 590) < 64


def test_half_the_share_of_trouble_is_taken_away_once_a_second():
    clock = [0.0]
    pace = Pace(100, 60.0, lambda: clock[0])
    pace.limit = 50.0
    for _ in range(29):
        pace.troubled()
    assert pace.limit == 50.0
    clock[0] = 1.5
    pace.troubled()  # nothing but trouble
    assert pace.limit == pytest.approx(25.0)
    for _ in range(30):
        pace.replied(0.1)  # grows by about one
    for _ in range(9):
        pace.troubled()
    grown = pace.limit
    clock[0] = 3.0
    pace.troubled()  # a quarter of all
    assert 26.0 < grown < 27.0
    assert pace.limit == pytest.approx(grown * (1 - 0.25 / 2))


def test_replies_that_take_long_make_the_review_rare():
    clock = [0.0]
    pace = Pace(100, 600.0, lambda: clock[0])
    pace.replied(50.0)
    limit = pace.limit
    clock[0] = 49.0
    pace.troubled()
    assert pace.limit == limit
    clock[0] = 51.0
    pace.troubled()
    assert pace.limit < limit


def test_trouble_that_has_no_cause_in_us_does_not_end_the_run():
    """A fifth of all is refused whatever we do: the slots stay in use."""
    with simulated() as (run, now):
        pace, draws, done = Pace(64, 10.0, now), random.Random(0), []

        async def ask():
            while now() < 60:
                async with pace.slot():
                    await asyncio.sleep(0.05)
                    if draws.random() < 0.2:
                        pace.troubled()
                        await asyncio.sleep(draws.uniform(0, 1.0))
                    else:
                        pace.replied(0.05)
                        done.append(now())

        async def all_of_them():
            await asyncio.gather(*(ask() for _ in range(64)))

        run(all_of_them())
    assert pace.limit > 16
    assert sum(at > 30 for at in done) > 0.25 * 64 * 30 / 0.15


def test_there_is_always_one_slot():
    clock = [0.0]
    pace = Pace(3, 60.0, lambda: clock[0])
    for _ in range(20):
        clock[0] += 10.0
        pace.troubled()
    assert pace.limit == 1.0


def test_a_cancelled_wait_gives_its_slot_back():
    async def scenario():
        pace = Pace(1, 60.0)
        order = []

        async def use(name):
            async with pace.slot():
                order.append(name)
                await asyncio.sleep(0)

        async with pace.slot():
            waiting = [asyncio.create_task(use(name)) for name in "abc"]
            await asyncio.sleep(0)
            waiting[0].cancel()
        waiting[1].cancel()  # its turn has come, it does not know it yet
        await asyncio.gather(*waiting, return_exceptions=True)
        assert order == ["c"]
        assert pace.under_way == 0

    asyncio.run(scenario())
