"""Which environment a job of SLURM gives the trainer."""

import signal

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from nt_lightning.slurm import Job

TORCHRUN = ("TORCHELASTIC_RUN_ID", "GROUP_RANK", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")


@pytest.fixture
def job(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGUSR1)
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    yield Job.here(tmp_path / "runs")
    signal.signal(signal.SIGUSR1, before)


def test_its_own_unless_told(job, monkeypatch):
    [environment] = job.environment([])
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert job.environment([LightningEnvironment()]) == []
    for name in TORCHRUN:  # srun torchrun ...
        monkeypatch.setenv(name, "1")
    assert job.environment([]) == []


def test_the_run_is_found_after_a_restart_alone(job, tmp_path, monkeypatch):
    last = tmp_path / "runs" / "one" / "checkpoints" / "last.ckpt"
    job.began(tmp_path / "runs" / "one")  # makes the folder of runs
    assert job.checkpoint is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job.checkpoint is None
    last.parent.mkdir(parents=True)
    last.write_bytes(b"x")
    assert job.checkpoint == str(last)


def test_no_scontrol(job, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    job._is_to_be_requeued = True
    job.requeue()
    assert "scontrol requeue 77 failed" in caplog.text
