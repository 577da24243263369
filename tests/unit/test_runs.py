"""Run folders: one for each run, found again by the recipe's name."""

import os
import subprocess
import sys

import pytest

from nt_lightning import files
from nt_lightning.errors import UserError
from nt_lightning.runs import choose_run_folder, drop_if_empty, latest_checkpoint


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NT_RUN_FOLDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def checkpoint(root, run, age):
    path = root / run / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.write_text("")
    os.utime(path, (1000 - age, 1000 - age))
    return path


def test_two_runs_in_one_second_have_two_folders(tmp_path):
    folders = {choose_run_folder(tmp_path, "mixed", "fit", None) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)
    drop_if_empty(min(folders))
    assert not min(folders).exists()


def test_a_launched_process_gets_its_parents_folder(tmp_path, monkeypatch):
    folder = choose_run_folder(tmp_path, "mixed", "fit", None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_run_folder(tmp_path, "mixed", "fit", None) == folder


def test_another_rank_of_torchrun_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    choose_run_folder(tmp_path, "mixed", "fit", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_process_alone_sets_old_metrics_aside(tmp_path, monkeypatch, rank):
    path = checkpoint(tmp_path, "mixed-20260101-120000", 0)
    run = path.parent.parent
    for name in ("config.yaml", "metrics.csv"):
        (run / name).write_text("")
    monkeypatch.setenv("RANK", rank)
    assert choose_run_folder(tmp_path, "mixed", "fit", str(path)) == run
    assert (run / "metrics-1.csv").is_file() == (rank == "0")


def test_last_is_the_newest_run_of_this_recipe_alone(tmp_path):
    checkpoint(tmp_path, "mixed-20260101-120000", 9)
    newest = checkpoint(tmp_path, "mixed-20260101-120000-2", 5)
    checkpoint(tmp_path, "mixed-long-20260101-130000", 3)
    checkpoint(tmp_path, "mixed+random_04-20260101-130000", 1)
    assert latest_checkpoint(tmp_path, "mixed") == newest
    with pytest.raises(UserError, match="no last.ckpt under"):
        latest_checkpoint(tmp_path, "other")


def test_a_folder_that_was_being_replaced_comes_back(tmp_path):
    """Killed between the two renames: the older checkpoint is the one to go on with."""
    whole = checkpoint(tmp_path, "mixed-20260101-000000", age=0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = files._beside(whole, "old").name.replace(f"-{os.getpid()}.", f"-{dead.pid}.")
    whole.unlink()
    (whole.parent / here).mkdir()
    assert latest_checkpoint(tmp_path, "mixed") == whole
    assert [path.name for path in whole.parent.iterdir()] == ["last.ckpt"]
    assert whole.is_dir()
