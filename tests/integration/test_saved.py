"""Runs of two processes under fsdp2: saved, resumed, read elsewhere, refused."""

import json

import pytest
import torch

from nt_lightning.student.checkpoint_io import AtomicCheckpointIO, check_checkpoint
from nt_lightning.student.trained import read_checkpoint
from tests import forked
from tests.integration.saved import of_four_ranks, of_two_ranks, of_two_replicas, train
from tests.tiny import save_tiny_pool, save_tiny_student

LAST = "checkpoints/last.ckpt"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A student with dropout, a pool, and a run of one process that stops at step 5."""
    folder = tmp_path_factory.mktemp("saved")
    student = save_tiny_student(folder / "student", attention_dropout=0.1)
    return student, save_tiny_pool(folder / "pool"), folder


@pytest.fixture(scope="module")
def alone(places):
    student, pool, folder = places
    return train(student, pool, folder / "alone", max_steps=5)


@pytest.fixture(scope="module")
def runs(places, alone):
    forked.ranks(2, places[2] / "two.log", of_two_ranks, *places)
    return places[2]


def ids(folder, name):
    """The ids of each step, of both ranks."""
    seen = [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]
    return {int(step): sorted(seen[0][step] + seen[1][step]) for step in seen[0]}


def states(folder, name):
    return torch.load(folder / f"{name}.pt", weights_only=True)


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_a_resumed_run_ends_to_the_bit_as_one_undisturbed(runs):
    whole, before, after = (ids(runs, name) for name in ("undisturbed", "stopped", "resumed"))
    assert {**before, **after} == whole
    assert min(after) == 6
    assert_equal(states(runs, "resumed")[0], states(runs, "stopped")[1])
    assert_equal(states(runs, "resumed")[1], states(runs, "undisturbed")[1])


def test_a_file_of_one_process_goes_on_with_two(runs, alone):
    start, _ = states(runs, "from_file")
    assert_equal(start, alone.end)
    after, whole = ids(runs, "from_file"), ids(runs, "undisturbed")
    assert after == {step: whole[step] for step in range(6, 17)}


def test_a_folder_of_two_processes_goes_on_with_one(places, runs):
    student, pool, _ = places
    seen = train(student, pool, runs / "one", ckpt_path=runs / "stopped" / LAST, max_steps=8)
    assert_equal(seen.start, states(runs, "stopped")[1])
    whole = ids(runs, "undisturbed")
    assert {step: sorted(of_step) for step, of_step in seen.steps.items()} == {
        step: whole[step] for step in (6, 7, 8)
    }
    assert (runs / "one" / LAST).is_file()


def test_four_devices_go_on_as_one_run(places):
    """Two groups of two: ids per step and group, weights and moments to the bit."""
    folder = places[2]
    forked.ranks(4, folder / "four.log", of_four_ranks, *places)
    seen = {
        name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(4)]
        for name in ("square", "square_stopped", "square_resumed")
    }
    for rank in range(4):
        whole, before, after = (of_rank[rank] for of_rank in seen.values())
        assert {**before, **after} == whole
        assert sorted(after) == ["5", "6"]
    assert seen["square"][0] == seen["square"][1] != seen["square"][2] == seen["square"][3]
    assert_equal(states(folder, "square_resumed")[0], states(folder, "square_stopped")[1])
    assert_equal(states(folder, "square_resumed")[1], states(folder, "square")[1])


def test_replicas_save_in_a_thread(places):
    """Lightning's AsyncCheckpointIO around ours, under ddp: a run goes on to the bit."""
    folder = places[2]
    forked.ranks(2, folder / "ddp.log", of_two_replicas, *places)
    assert_equal(states(folder, "ddp_resumed")[0], states(folder, "ddp_stopped")[1])
    assert_equal(states(folder, "ddp_resumed")[1], states(folder, "ddp")[1])
    before, after, whole = (ids(folder, f"ddp{name}") for name in ("_stopped", "_resumed", ""))
    assert {**before, **after} == whole


def test_layers_divided_over_two_devices_go_on_and_are_gone_on_with(runs):
    """Every value is in one shard; both devices see every trace."""
    assert_equal(states(runs, "divided")[0], states(runs, "stopped")[1])
    whole = ids(runs, "undisturbed")
    for rank in range(2):
        seen = json.loads((runs / f"divided-{rank}.json").read_text())
        assert {int(step): sorted(of_step) for step, of_step in seen.items()} == {
            step: whole[step] for step in (6, 7, 8)
        }
    assert_equal(states(runs, "shared")[0], states(runs, "divided")[1])
    saved = AtomicCheckpointIO().load_checkpoint(runs / "divided" / LAST)["state_dict"]
    trained = {name: value for name, value in states(runs, "divided")[1].items() if name[-1] == " "}
    assert_equal({name: saved[name[:-1]] for name in trained}, trained)
    sizes = [
        sum(path.stat().st_size for path in (runs / name / LAST).glob("shard-*"))
        for name in ("divided", "stopped")
    ]
    assert sizes[0] < 1.02 * sizes[1]


def test_adapters_alone_are_saved(runs):
    saved = read_checkpoint(runs / "lora" / LAST)
    trained = {name.partition(" ")[0] for name in states(runs, "lora")[1]}
    assert {f"model.{name}" for name in saved.weights} == trained
    assert all("lora_" in name for name in trained)
    for name, value in saved.weights.items():
        assert torch.equal(value, states(runs, "lora")[1][f"model.{name} "]), name


def test_the_best_are_kept_as_folders(runs):
    kept = sorted(path.name for path in (runs / "best").iterdir())
    assert len(kept) == 2
    for name in kept:
        content = AtomicCheckpointIO().load_checkpoint(runs / "best" / name)
        assert name == f"step={content['global_step']}.ckpt"
        assert len(content["callbacks"]["RNGState"]["ranks"]) == 2
        assert content["loops"]["fit_loop"]["state_dict"]["combined_loader"]


def test_one_rank_without_room_stops_both_and_the_older_folder_stays(runs):
    first, second = (json.loads((runs / f"errors-{rank}.json").read_text()) for rank in range(2))
    assert first[0] == second[0]
    assert "last.ckpt could not be written: [Errno 27] File too large (rank 1)" in first[0]
    assert [path.name for path in (runs / "full" / "checkpoints").iterdir()] == ["last.ckpt"]
    check_checkpoint(runs / "full" / LAST)
    assert AtomicCheckpointIO().load_checkpoint(runs / "full" / LAST)["global_step"] == 3


def test_damage_in_one_shard_stops_both(runs):
    first, second = (json.loads((runs / f"errors-{rank}.json").read_text()) for rank in range(2))
    assert first[1] == second[1]
    assert "shard-00001.pt is damaged: its SHA-256 is not that of what was written" in first[1]
