"""What the bar shows, and the line that stands for it in a file."""

import logging
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from nt_lightning import progress
from nt_lightning.progress import RunProgressBar

TRAINER = SimpleNamespace(
    global_step=7, datamodule=SimpleNamespace(num_steps=90), is_global_zero=True
)


@pytest.fixture
def bar(monkeypatch):
    metrics = {"v_num": "oard", "train/loss": 0.25, "perf/tokens_per_s": 312.0}
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: dict(metrics))
    for hook in ("on_train_start", "on_train_batch_end"):
        monkeypatch.setattr(RichProgressBar, hook, lambda *_: None)
    return RunProgressBar()


def test_short_names_and_no_version(bar):
    assert bar.get_metrics(TRAINER, None) == {"loss": 0.25, "tok/s": 312.0}


@pytest.mark.parametrize(("terminal", "lines"), [(False, 2), (True, 0)])
def test_a_line_every_half_minute_where_there_is_no_terminal(
    bar, monkeypatch, caplog, terminal, lines
):
    clock = iter([0.0, 29.0, 31.0, 31.0, 60.0, 62.0, 62.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "get_console", lambda: SimpleNamespace(is_terminal=terminal))
    with caplog.at_level(logging.INFO):
        bar.on_train_start(TRAINER, None)
        for _ in range(4):
            bar.on_train_batch_end(TRAINER, None, None, None, 0)
    assert caplog.messages == ["step 7 of 90, loss 0.25, tok/s 312"] * lines
