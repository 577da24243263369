"""Throughput counts by hand; generators in a checkpoint; the run's summary."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from callbacks import throughput
from callbacks.last_checkpoint import LastCheckpoint
from callbacks.rng_state import RNGState
from callbacks.run_summary import RunSummary
from callbacks.throughput import Throughput
from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.data.selections import RandomSelection
from nt_lightning.student.sft import MaskedSFT
from tests.tiny import save_tiny_pool, save_tiny_student


def batch(tokens, labelled, filler=False):
    labels = torch.full((1, tokens), IGNORE_INDEX)
    labels[0, :labelled] = 7
    rows = torch.zeros(0 if filler else 1)
    return SimpleNamespace(input_ids=torch.zeros(1, tokens), labels=labels, rows=rows)


@pytest.mark.parametrize("devices_of_a_row", [1, 2])
def test_tokens_are_counted_apart(monkeypatch, devices_of_a_row):
    """Four devices; where two compute each row together, both have counted it."""
    clock = iter([0.0, 1.0, 5.0, 6.0])  # two micro-batches of a second; four in between not counted
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    logged = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: float(value)}))
    trainer = SimpleNamespace(
        accumulate_grad_batches=2,
        global_step=1,
        log_every_n_steps=1,
        strategy=SimpleNamespace(reduce=lambda x, reduce_op: x),
        world_size=4,
        distributed_sampler_kwargs={"rank": 0, "num_replicas": 4 // devices_of_a_row},
    )
    ours = Throughput()
    for index, part in enumerate([batch(100, 60), batch(2, 0, filler=True)]):
        ours.on_train_batch_start(trainer, module, part, index)
        ours.on_train_batch_end(trainer, module, None, part, index)
    assert logged == {
        "perf/labelled_tokens_per_s": 30.0 / devices_of_a_row,
        "perf/tokens_per_s": 50.0 / devices_of_a_row,
        "perf/padded_tokens_per_s": 51.0 / devices_of_a_row,
    }


def draw():
    return [float(torch.rand(1)), float(np.random.rand()), random.random()]


def test_generators_come_back(tmp_path):
    saved = RNGState().state_dict()
    want = draw()
    torch.save(saved, tmp_path / "state.pt")
    draw()
    again = RNGState()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    trainer = SimpleNamespace(world_size=1, global_rank=0)
    again.on_train_start(trainer, None)
    assert draw() == want
    again.on_train_start(trainer, None)  # once only
    assert draw() != want


def test_in_the_middle_of_a_step_its_beginning_is_saved():
    callback, trainer = RNGState(), SimpleNamespace(accumulate_grad_batches=2)
    callback.on_train_batch_start(trainer, None, None, 4)
    began = torch.get_rng_state()
    draw()
    callback.on_train_batch_end(trainer, None, None, None, 4)
    assert torch.equal(callback.state_dict()["ranks"][0]["torch"], began)
    callback.on_train_batch_start(trainer, None, None, 5)
    draw()
    callback.on_train_batch_end(trainer, None, None, None, 5)
    assert not torch.equal(callback.state_dict()["ranks"][0]["torch"], began)


def test_the_summary_is_the_plan(tmp_path):
    student = save_tiny_student(tmp_path / "student")
    data = RandomSelection(
        save_tiny_pool(tmp_path / "pool"), student, max_tokens=256, tokens_per_step=512
    )
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_steps=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RunSummary()],
    )
    trainer.fit(MaskedSFT(student), data)
    summary = json.loads((tmp_path / "plan.json").read_text())
    traces = data.traces("train")
    assert summary["traces"] == 64
    assert summary["tokens"] == sum(traces["num_tokens"])
    assert summary["labelled_tokens"] == sum(traces["num_tokens"]) - sum(traces["num_prompt"])
    assert summary["steps"] == 1
    assert summary["micro_batches_per_step"] == 2
    assert summary["bins"] == data.plan(0).num_bins
    assert len(summary["weights_sha256"]) == 64
    modes = list(traces["mode"])
    counted = {"no_think": 0, "adaptive": modes.count(1), "think": modes.count(2)}
    assert summary["examples"]["train"] == counted


def test_other_data_is_refused():
    trainer = SimpleNamespace(datamodule=object(), is_global_zero=True, fast_dev_run=False)
    with pytest.raises(ValueError, match="needs a TraceDataModule, not object"):
        RunSummary().on_fit_start(trainer, None)


def test_a_callback_in_a_second_run_saves_nothing_before_that_is_restored(tmp_path, monkeypatch):
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    callback, saved = LastCheckpoint(), []
    monkeypatch.setattr(callback, "_save_last_checkpoint", lambda *_: saved.append("saved"))
    monkeypatch.setattr(callback, "_last_global_step_saved", -1)  # a step is there to be saved
    for _ in range(2):
        callback.setup(trainer, None, "fit")
        saved.clear()
        callback.on_exception(trainer, None, KeyboardInterrupt())
        assert saved == []
        callback.on_train_start(trainer, None)
        callback.on_exception(trainer, None, KeyboardInterrupt())
        assert saved == ["saved"]
