"""A bar on a terminal after three seconds, log lines elsewhere, nothing on other ranks."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from nt_lightning.evaluation import progress
from nt_lightning.evaluation.progress import progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    made = Console(file=out, force_terminal=terminal, force_interactive=terminal, width=80)
    monkeypatch.setattr(progress, "get_console", lambda: made)
    return out


def test_no_bar_for_what_is_short(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    out = console(monkeypatch, terminal=True)
    with progress_bar("sums think", 10) as update:
        for done in range(10):
            clock[0] += 0.2
            update(done)
    assert out.getvalue() == ""


def test_a_bar_after_three_seconds(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    out = console(monkeypatch, terminal=True)
    with progress_bar("sums think", 10) as update:
        clock[0] += 4
        update(7)
    assert "sums think" in out.getvalue()
    assert "7/10" in out.getvalue()


def test_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    out = console(monkeypatch, terminal=False)
    with caplog.at_level(logging.INFO), progress_bar("sums think", 10) as update:
        for done in range(10):
            clock[0] += 10
            update(done)
    assert out.getvalue() == ""
    assert [record.message for record in caplog.records] == [
        "sums think: 2 of 10 after 30 s, 120 s left",
        "sums think: 5 of 10 after 60 s, 60 s left",
        "sums think: 8 of 10 after 90 s, 22 s left",
    ]


def test_silent_on_other_ranks(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    out = console(monkeypatch, terminal=True)
    with progress_bar("sums think", 10, enabled=False) as update:
        clock[0] += 60
        update(7)
    assert out.getvalue() == ""
