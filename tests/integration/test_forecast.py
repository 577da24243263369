"""The command against a run of the same recipe, and what it says before a run."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from nt_lightning.cli import run
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.forecast import before_fit
from nt_lightning.forecast.before_fit import FitsInMemory
from nt_lightning.forecast.memory import memory_of
from nt_lightning.student.loading import LoRA
from nt_lightning.student.sft import MaskedSFT
from tests.integration.command import ROOT, write_recipe
from tests.tiny import save_tiny_pool, save_tiny_student
from tests.unit.forecast.setups import setup_for


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("forecast"))


@pytest.fixture(scope="module")
def planned(recipe):
    """What ``fit`` says of its plan; afterwards the student has no weights any more."""
    assert run_here("fit", recipe, "--trainer.max_steps", 1) == 0
    (plan,) = recipe.parent.glob("runs/tiny-2*/plan.json")
    (recipe.parent / "student" / "model.safetensors").unlink()
    return json.loads(plan.read_text())


def run_here(command, recipe, *arguments):
    """A command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.setattr("sys.argv", ["nt_lightning"])
        return run([command, "--config", str(recipe), *map(str, arguments)])


def forecast(recipe, *arguments):
    assert run_here("forecast", recipe, *arguments) == 0
    paths = recipe.parent.glob("runs/*-forecast-*/forecast.json")
    return json.loads(max(paths, key=lambda path: path.stat().st_mtime).read_text())


def test_the_plan_is_that_of_fit(recipe, planned):
    found = forecast(recipe, "--peak_tflops", 2, "--mfu", 0.5)
    names = {"traces": "traces", "tokens": "tokens", "labelled_tokens": "labelled_tokens"}
    names |= {"bins": "bins", "steps_per_epoch": "steps_per_epoch"}
    assert {ours: found["run"][ours] for ours in names} == {
        ours: planned[theirs] for ours, theirs in names.items()
    }
    assert found["run"]["steps"] == 2 * planned["steps_per_epoch"]
    assert found["devices"]["name"] == "cpu"
    assert found["time"]["seconds"] == pytest.approx(found["run"]["slowest_flops"] / 1e12)
    assert found["memory"]["verdict"] == "fits"
    assert sum(found["memory"]["parts"].values()) == found["memory"]["total"]


def test_many_gpus_that_are_not_here(recipe, planned, capsys):
    many = ["--config", ROOT / "recipes" / "hardware" / "fsdp2_multinode.yaml", "--gpu", "h100"]
    found = forecast(recipe, *many, "--memory_gb", 0.0001)
    assert found["devices"]["number"] == 24
    assert found["devices"]["strategy"] == "fsdp2"
    assert found["devices"]["dtype"] == "bfloat16"
    assert found["run"]["micro_batches"] == 1
    assert found["run"]["idle_share"] > 0.9
    assert found["memory"]["verdict"] == "does not fit"
    shown = capsys.readouterr().out
    assert "--model.activation_checkpointing true" in shown
    assert "forecast.json" in shown


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mfu", 1.5, r"--mfu is 1\.5; allowed: more than 0, at most 1"),
        ("--trainer.devices", 0, "trainer.devices is"),
        ("--trainer.precision", "bf16-true", "trainer.precision is 'bf16-true'; allowed"),
    ],
)
def test_what_cannot_be_forecast(recipe, option, value, message):
    with pytest.raises(UserError, match=message):
        run_here("forecast", recipe, option, value)


RANK = """
import sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from nt_lightning.student.loading import LoRA, load_student
from nt_lightning.student.sharding import shard
dist.init_process_group("gloo")
lora = LoRA(r=4) if sys.argv[2] == "lora" else None
model = load_student(sys.argv[1], lora=lora)
names = ("data_parallel", "tensor_parallel")
shard(model, init_device_mesh("cpu", (2, 1), mesh_dim_names=names))
held = [p.to_local() for p in model.parameters()]
if dist.get_rank() == 0:
    print("bytes", sum(p.numel() * p.element_size() for p in held))
dist.destroy_process_group()
"""


@pytest.mark.parametrize("variant", ["full", "lora"])
def test_weights_of_a_rank(tmp_path, variant):
    """Two processes on gloo, each with its share."""
    name = save_tiny_student(tmp_path / "student", hidden_size=72, head_dim=18)
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, name, variant], cwd=ROOT, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (held,) = (int(line.split()[1]) for line in done.stdout.splitlines() if line[:5] == "bytes")
    lora = LoRA(r=4) if variant == "lora" else None
    assert memory_of(setup_for(name, lora=lora, strategy="fsdp2", world_size=2)).weights == held


def fit(folder: Path, room: int | None, monkeypatch) -> MaskedSFT:
    """One step with a device that has so much room."""
    monkeypatch.setattr(before_fit, "free_bytes", lambda _: room)
    name = save_tiny_student(folder / "student")
    module = MaskedSFT(name)
    data = RandomSelection(
        save_tiny_pool(folder / "pool"), name, max_tokens=256, tokens_per_step=256
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[FitsInMemory()],
    )
    try:
        trainer.fit(module, data)
    finally:
        assert (module.model is None) == (trainer.global_step == 0)
    return module


def test_a_student_too_large_is_refused_before_it_is_loaded(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"cannot be trained so: .* 0.1 MiB \(1.* MiB of it weights"
    ):
        fit(tmp_path, 100_000, monkeypatch)


def test_a_row_too_large_is_a_warning(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, 1_700_000, monkeypatch)
    (said,) = [r.getMessage() for r in caplog.records if "run out of memory" in r.getMessage()]
    assert "--model.activation_checkpointing true" in said


def test_nothing_is_said_of_a_device_with_room(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, 10**12, monkeypatch)
    assert not [r for r in caplog.records if "memory" in r.getMessage()]
    assert before_fit.free_bytes(torch.device("cpu")) == 10**12


def test_fit_looks_before_it_begins(recipe, monkeypatch):
    monkeypatch.setattr(before_fit, "free_bytes", lambda _: 1000)
    with pytest.raises(UserError, match="cannot be trained so"):
        run_here("fit", recipe)
