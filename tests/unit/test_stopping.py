"""Ctrl+C in the worst of moments: the checkpoint's weights are those of its step."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from nt_lightning.stopping import StopTogether
from nt_lightning.student.optim import PaperAdamW
from tests.integration.saved import train
from tests.tiny import save_tiny_pool, save_tiny_student

LAST = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping")
    student = save_tiny_student(folder / "student", attention_dropout=0.1)
    return student, save_tiny_pool(folder / "pool")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_an_update(places, tmp_path, monkeypatch, number):
    """The weights are new, and nothing has counted the step yet."""
    undisturbed = train(*places, tmp_path / "undisturbed", max_steps=6)
    update, updates = PaperAdamW.step, []

    def signalled(optimizer, closure=None):
        result = update(optimizer, closure)
        updates.append(1)
        if len(updates) == 4:
            os.kill(os.getpid(), number)
        return result

    stop = StopTogether()
    before = [signal.getsignal(it) for it in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    monkeypatch.setattr(PaperAdamW, "step", signalled)
    with pytest.raises(SystemExit):
        train(*places, tmp_path / "run", more=(stop,), max_steps=6)
    monkeypatch.setattr(PaperAdamW, "step", update)
    signal.signal(signal.SIGINT, before[0])
    assert signal.getsignal(signal.SIGTERM) == before[1]
    assert stop.by_ctrl_c == (number == signal.SIGINT)
    assert len(updates) == 4
    resumed = train(*places, tmp_path / "on", ckpt_path=tmp_path / "run" / LAST, max_steps=6)
    assert min(resumed.steps) == 5
    assert resumed.end.keys() == undisturbed.end.keys()
    for name, value in undisturbed.end.items():
        assert torch.equal(resumed.end[name], value), name


def test_a_signal_within_the_question_is_told_the_next_time(monkeypatch):
    """The ranks have agreed on what they had heard before it; it must not be forgotten."""
    told = []

    def interrupted(heard, **_):
        told.append(int(heard))
        if len(told) == 1:
            stop._hear(signal.SIGTERM, None)

    stop = StopTogether()
    stop._pid, stop._group = os.getpid(), object()
    stop._trainer = SimpleNamespace(_signal_connector=SimpleNamespace(received_sigterm=False))
    monkeypatch.setattr("nt_lightning.stopping.dist.all_reduce", interrupted)
    stop.on_train_batch_end(stop._trainer, None, None, None, 0)
    assert not stop._trainer._signal_connector.received_sigterm
    stop.on_train_batch_end(stop._trainer, None, None, None, 1)
    assert told == [0, signal.SIGTERM]
    assert stop._trainer._signal_connector.received_sigterm
