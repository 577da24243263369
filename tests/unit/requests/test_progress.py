"""What is shown of a run: rate, time left, tokens, money."""

import asyncio
import io
import logging
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from nt_lightning.requests import progress as shown
from nt_lightning.requests.budget import Spent
from nt_lightning.requests.progress import Progress


def run(counts, spent=Spent(900, 4_100_000, 1.02), before=Spent(100, 100_000, 0.5), unsure=Spent()):
    budget = SimpleNamespace(spent=spent, unsure=unsure)
    return SimpleNamespace(counts=Counter(counts), budget=budget, before=before)


LANES = [SimpleNamespace(pace=SimpleNamespace(limit=limit)) for limit in (16.9, 8.0)]


def after(seconds, total=5000):
    progress = Progress(total)
    progress.began = time.monotonic() - seconds
    return progress


def test_a_line_of_what_this_run_has_done():
    counts = {"found": 460, "replied": 600, "refused": 20, "gave_up": 3, "repeated": 77}
    line = after(60.0).line(run(counts), LANES)
    # 5,000 - 1,160 are left at 10 a second
    assert line == (
        "1,160 of 5,000 requests, 10.0/s, 6 min left, 4,000,000 tokens, 0.52 USD, "
        "24 at a time, 23 without a reply"
    )


def test_busy_servers_and_lost_replies_are_told():
    counts = {"found": 460, "replied": 600, "throttled": 1200}
    line = after(60.0).line(run(counts, unsure=Spent(2, 1_000_000)), LANES)
    assert ", 3,000,000 tokens (up to 1,000,000 more), " in line
    assert line.endswith("24 at a time, 1,200 times 429")


def test_before_the_first_reply_nothing_is_foretold():
    line = after(60.0).line(run({"found": 400}, Spent(), Spent()), LANES)
    assert line == "400 of 5,000 requests, 0.0/s, 0 tokens, 24 at a time"


@pytest.mark.parametrize(
    ("done", "left"), [(4990, "1 s"), (4000, "2 min"), (1, "83.3 h"), (60, "82 min")]
)
def test_time_left(done, left):
    seconds = {1: 60.0, 60: 60.0}.get(done, done / 10)
    assert f", {left} left," in after(seconds).line(run({"replied": done}), LANES)


def test_a_line_every_half_minute_where_nobody_sees_a_bar(monkeypatch, caplog):
    monkeypatch.setattr(shown, "REFRESH_S", 0.01)
    monkeypatch.setattr(shown, "LOG_EVERY_S", 0.05)
    caplog.set_level(logging.INFO)

    async def follow():
        progress, state = Progress(10), run({"replied": 5})
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(progress.follow(state, LANES), 0.2)
        progress.close(state, LANES)

    asyncio.run(follow())
    assert 2 <= len(caplog.messages) <= 4
    assert caplog.messages[0].startswith("5 of 10 requests")


def test_the_bar_does_not_count_what_was_found_as_fast(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress(5000)
    progress._bar.start_t -= 100.0
    progress.close(run({"found": 4000, "replied": 200}), LANES)
    text = terminal.getvalue()
    assert "4200/5000" in text
    assert "2.00 requests/s" in text
    assert "4,000,000 tokens, 0.52 USD, 24 at a time" in text
