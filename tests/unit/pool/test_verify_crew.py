"""Workers that hang, die and are replaced."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from nt_lightning.evaluation.equality.verdict import Verdict
from nt_lightning.evaluation.expendable import Expendable
from nt_lightning.pool.verification import crew as module
from nt_lightning.pool.verification.crew import Crew

HANGS = "\\boxed{9^{9^{9^{9}}}}"


def row(answer: str, reference: str = "1") -> dict[str, Any]:
    return {"id": "a", "question": "q", "answer": answer, "reference_answer": reference}


def in_order(crew: Crew, rows: list[dict[str, Any]]) -> list[Verdict | None]:
    verdicts: list[Verdict | None] = [None] * len(rows)
    for place, verdict in crew.judge(rows):
        assert verdicts[place] is None
        verdicts[place] = verdict
    return verdicts


def test_a_row_that_hangs_stalls_no_other() -> None:
    rows = [row(HANGS), *(row(f"\\boxed{{{n}-1}}") for n in range(40))]
    finished: dict[int, float] = {}
    with Crew(2, limit_s=3.0) as crew:
        list(crew.judge([row("\\boxed{3-2}")] * 2))  # both have started
        began = time.monotonic()
        for place, verdict in crew.judge(rows):
            finished[place] = time.monotonic() - began
            if place == 0:
                assert verdict == (None, "timeout")
            else:
                assert verdict == (place == 3, "math-verify")
    assert 3.0 <= finished.pop(0) < 10.0
    assert max(finished.values()) < 3.0


def test_every_worker_hangs_and_all_rows_are_judged() -> None:
    rows = [row(HANGS), row(HANGS), row("\\boxed{3-2}"), row("\\boxed{3-1}")]
    with Crew(2, limit_s=1.0) as crew:
        verdicts = in_order(crew, rows)
    assert [verdict and verdict.by for verdict in verdicts] == ["timeout"] * 2 + ["math-verify"] * 2


def test_a_worker_killed_from_outside_is_replaced_and_its_row_tried_again() -> None:
    with Crew(1, limit_s=20.0) as crew:
        assert in_order(crew, [row("\\boxed{3-2}")]) == [(True, "math-verify")]
        (killed,) = crew.process_ids
        os.kill(killed, signal.SIGSTOP)  # so that it has no verdict before it dies
        timer = threading.Timer(0.3, os.kill, (killed, signal.SIGKILL))
        timer.start()
        assert in_order(crew, [row("\\boxed{3-1}")]) == [(False, "math-verify")]
        assert crew.process_ids != [killed]


def test_a_worker_that_died_between_two_rows() -> None:
    with Crew(1, limit_s=20.0) as crew:
        assert in_order(crew, [row("\\boxed{3-2}")]) == [(True, "math-verify")]
        os.kill(crew.process_ids[0], signal.SIGKILL)
        assert in_order(crew, [row("\\boxed{3-2}")]) == [(True, "math-verify")]


def test_a_row_that_ends_its_worker_twice_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Expendable.send

    def send_and_kill(self: Expendable, request: dict[str, Any]) -> None:
        send(self, request)
        if request["answer"] == "deadly":
            assert self.process is not None
            self.process.kill()

    monkeypatch.setattr(Expendable, "send", send_and_kill)
    with Crew(1, limit_s=20.0) as crew:
        verdicts = in_order(crew, [row("deadly"), row("\\boxed{3-2}")])
    assert verdicts == [(None, "failed"), (True, "math-verify")]


def test_a_row_larger_than_a_pipe() -> None:
    with Crew(2, limit_s=20.0) as crew:
        long = "so " * 100_000
        assert in_order(crew, [row(f"{long}\\boxed{{1}}"), row(f"{long}\\boxed{{2}}")]) == [
            (True, "number"),
            (False, "number"),
        ]


def test_an_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crew(1, limit_s=20.0) as crew:
        bad = {"id": "a", "question": "q"}  # no answer
        assert in_order(crew, [bad, row("\\boxed{1}")]) == [(None, "failed"), (True, "number")]


def test_workers_end_with_the_crew() -> None:
    with Crew(2, limit_s=20.0) as crew:
        next(crew.judge([row("\\boxed{1}"), row(HANGS), row(HANGS)]))
        processes = crew.process_ids
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_worker_that_does_not_start_says_how_to_see_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORKER", "nt_lightning.no_such_module")
    with (
        Crew(1, limit_s=5.0) as crew,
        pytest.raises(RuntimeError, match=r"does not start.*no_such_module"),
    ):
        list(crew.judge([row("1")]))
