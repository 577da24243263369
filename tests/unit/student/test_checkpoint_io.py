"""Checkpoints are whole or absent, and a changed byte is found wherever it is."""

import errno
import io
import os
import random
import resource
import shutil
import threading
import zipfile
from fractions import Fraction

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from nt_lightning.errors import UserError
from nt_lightning.files import sha256_file
from nt_lightning.student import checkpoint_io, hashed_file
from nt_lightning.student.checkpoint_io import (
    AtomicCheckpointIO,
    CheckpointNotWritten,
    check_checkpoint,
    save_folder,
)
from nt_lightning.student.hashed_file import HashedFile
from nt_lightning.student.sealed import read_manifest
from nt_lightning.student.shards import Box, Parts, sharded_like, split, whole
from nt_lightning.traces.pool import Pool
from tests.tiny import save_tiny_pool

CONTENT = {
    "global_step": 7,
    "epoch": 1,
    "state_dict": {"w": torch.arange(5000.0).view(50, 100), "b": torch.ones(3)},
}


def save(path, content=CONTENT):
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def one_rank():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))
    dist.destroy_process_group()


@pytest.fixture
def sharded(one_rank):
    """Content whose weights and moments are DTensors."""

    def share(tensor):
        return distribute_tensor(tensor, one_rank, [Shard(0)])

    weights = {name: share(value) for name, value in CONTENT["state_dict"].items()}
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": share(torch.full((50, 100), 2.0))}}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {**CONTENT, "state_dict": weights, "optimizer_states": [optimizer]}


# -- one file ------------------------------------------------------------------------------------


def test_torch_reads_a_sealed_file(tmp_path):
    path = save(tmp_path / "new" / "last.ckpt")
    for options in ({}, {"mmap": True}, {"weights_only": True, "mmap": True}):
        assert torch.equal(
            torch.load(path, **options)["state_dict"]["w"], CONTENT["state_dict"]["w"]
        )
    with path.open("rb") as file:
        assert torch.load(file, weights_only=True)["global_step"] == 7
    assert zipfile.ZipFile(path).testzip() is None
    again = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(again["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert names(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize("block", [4096, 8192])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 20_000])
def test_what_is_hashed_is_what_is_written(tmp_path, monkeypatch, size, block):
    monkeypatch.setattr(hashed_file, "_BLOCK", block)
    data = random.Random(size).randbytes(size)
    with HashedFile(tmp_path / "file") as file:
        for start in range(0, size, 777):
            file.write(data[start : start + 777])
        written = file.finish()
        file.write(b"tail")
    assert (tmp_path / "file").read_bytes() == data + b"tail"
    (tmp_path / "alone").write_bytes(data)
    assert written == (sha256_file(tmp_path / "alone"), size)


def test_bytes_are_those_of_torch_save(tmp_path):
    path, plain = save(tmp_path / "last.ckpt"), io.BytesIO()
    torch.save(CONTENT, plain)
    assert path.read_bytes().startswith(plain.getvalue())


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path):
    path, copy = save(tmp_path / "last.ckpt"), tmp_path / "copy.ckpt"
    data, draw = path.read_bytes(), random.Random(0)
    places = [draw.randrange(len(data)) for _ in range(100)]
    for place in [*places, *range(len(data) - 400, len(data), 4)]:  # the seal, too
        damaged = bytearray(data)
        damaged[place] ^= 1 << draw.randrange(8)
        copy.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(copy)


def test_a_cut_file_and_a_foreign_one(tmp_path):
    path = save(tmp_path / "last.ckpt")
    data = path.read_bytes()
    path.unlink()
    cut = tmp_path / "cut"
    for size in (0, 5, 16, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:size])
        with pytest.raises(UserError, match="damaged: it does not end with a seal"):
            check_checkpoint(cut)
    cut.write_bytes(data[10:])
    with pytest.raises(UserError, match=r"damaged: it has \S+ bytes, \S+ were written"):
        check_checkpoint(cut)
    torch.save(CONTENT, cut)
    with pytest.raises(UserError, match="is no checkpoint that nt_lightning has written"):
        check_checkpoint(cut)
    with pytest.raises(UserError, match="could not be read"):
        check_checkpoint(tmp_path / "none")


def test_damage_names_the_newest_whole_checkpoint(tmp_path):
    for age, name in enumerate(("last", "newer", "older", "damaged")):
        os.utime(save(tmp_path / f"{name}.ckpt"), (1000 - age, 1000 - age))
    for name in ("last", "damaged"):
        with (tmp_path / f"{name}.ckpt").open("r+b") as file:
            file.write(b"x")
    with pytest.raises(UserError, match=r"last.ckpt is damaged.*--ckpt_path \S*newer.ckpt$"):
        check_checkpoint(tmp_path / "last.ckpt")


# -- what cannot be written ----------------------------------------------------------------------


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    """A limit on the size of files fails the write as a full disk does: in the middle."""
    path = save(tmp_path / "last.ckpt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointNotWritten, match=r"last.ckpt could not .*large.*intact"):
            save(path, {"value": torch.zeros(5_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 7
    assert names(tmp_path) == ["last.ckpt"]


def test_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointNotWritten, match="could not be written"):
        save(tmp_path / "file" / "last.ckpt")


def refuse(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_cannot_be_flushed_was_not_written(tmp_path, monkeypatch, sharded):
    file, folder = save(tmp_path / "a.ckpt"), tmp_path / "b.ckpt"
    save_folder(sharded, folder)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointNotWritten, match=r"a.ckpt .*Input/output error"):
        save(file, {})
    with pytest.raises(CheckpointNotWritten, match=r"b.ckpt .*Input/output error \(rank 0\)"):
        save_folder({"global_step": 8}, folder)
    monkeypatch.undo()
    assert names(tmp_path) == ["a.ckpt", "b.ckpt"]
    for path in (file, folder):
        assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 7


@pytest.mark.parametrize("place", ["checkpoints", "shared"])
def test_leftovers_are_swept_by_the_next_save(tmp_path, place):
    """In a run's own folder of any name and any host; not what nt_lightning has not made."""
    folder = tmp_path / place
    leftovers = (".a.ckpt.0123abcd.0123abcd-77.partial", ".b.ckpt.0123abcd.0123abcd-77.old")
    for name in (*leftovers, ".hidden"):
        (folder / name).mkdir(parents=True)
    save(folder / "last.ckpt")
    if place == "checkpoints":
        assert names(folder) == [".hidden", "b.ckpt", "last.ckpt"]  # b was being replaced
    else:  # another host may still write there
        assert names(folder) == sorted([*leftovers, ".hidden", "last.ckpt"])


def test_what_could_not_be_read_again_is_not_kept(tmp_path):
    """A callback's state of a foreign class, or one that cannot be pickled: told of at once."""
    save(tmp_path / "last.ckpt")
    whole = (tmp_path / "last.ckpt").read_bytes()
    for odd in (Fraction(1, 3), lambda: 1, threading.Lock()):
        with pytest.raises(CheckpointNotWritten, match="last.ckpt could not be written"):
            save(tmp_path / "last.ckpt", {"global_step": 8, "odd": odd})
        assert (tmp_path / "last.ckpt").read_bytes() == whole
    assert names(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_who_writes(tmp_path, monkeypatch, in_a_thread):
    """Another thread where Lightning's AsyncCheckpointIO is asked for, and a whole checkpoint."""
    writers = []
    write = checkpoint_io.write_sealed

    def watched(*args):
        writers.append(threading.current_thread())
        return write(*args)

    monkeypatch.setattr(checkpoint_io, "write_sealed", watched)
    [plugin] = checkpoint_io.with_checkpoints([AsyncCheckpointIO()] if in_a_thread else [])
    plugin.save_checkpoint({"global_step": 1, "state_dict": {}}, tmp_path / "last.ckpt")
    plugin.teardown()
    assert [writer is threading.main_thread() for writer in writers] == [not in_a_thread]
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 1


# -- a folder of shards --------------------------------------------------------------------------


def test_a_folder_is_read_whole(tmp_path, sharded):
    save_folder(sharded, tmp_path / "last.ckpt")
    assert names(tmp_path) == ["last.ckpt"]
    assert names(tmp_path / "last.ckpt") == ["manifest.json", "meta.pt", "shard-00000.pt"]
    again = AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    for name, value in CONTENT["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value)
    state = again["optimizer_states"][0]["state"][0]
    assert state["step"] == 3
    assert torch.equal(state["exp_avg"], torch.full((50, 100), 2.0))
    about = read_manifest(tmp_path / "last.ckpt")
    assert (about["step"], about["epoch"], about["world_size"]) == (7, 1, 1)


def test_files_and_folders_take_each_others_place(tmp_path, sharded):
    path = save(tmp_path / "last.ckpt")
    save_folder(sharded, path)
    assert path.is_dir()
    save(path)
    assert path.is_file()
    assert names(tmp_path) == ["last.ckpt"]
    save_folder(sharded, path)
    AtomicCheckpointIO().remove_checkpoint(path)
    assert names(tmp_path) == []


def test_a_flipped_byte_is_found_in_every_file_of_a_folder(tmp_path, sharded):
    path, draw = tmp_path / "last.ckpt", random.Random(0)
    save_folder(sharded, path)
    for trial in range(100):
        file = path / names(path)[trial % 3]
        data = bytearray(file.read_bytes())
        place, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        data[place] ^= bit
        file.write_bytes(data)
        with pytest.raises(UserError, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(path)
        data[place] ^= bit
        file.write_bytes(data)
    AtomicCheckpointIO().load_checkpoint(path)
    (path / "shard-00000.pt").unlink()
    with pytest.raises(UserError, match="shard-00000.pt is missing"):
        check_checkpoint(path)


def test_a_flipped_byte_of_a_pool_is_found(tmp_path):
    pool, copy, draw = tmp_path / "pool", tmp_path / "copy", random.Random(0)
    save_tiny_pool(pool)
    files = [str(file.relative_to(pool)) for file in sorted(pool.rglob("*")) if file.is_file()]
    for trial in range(100):
        shutil.copytree(pool, copy)
        file = copy / files[trial % len(files)]
        data = bytearray(file.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        with pytest.raises(UserError):
            Pool(str(copy))
        shutil.rmtree(copy)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (1, 2)])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_boxes_of_any_number_of_ranks(shape, ranks):
    """Rows cut by torch.chunk."""
    value = torch.rand(shape)
    boxes, start = [], 0
    for rows in value.chunk(ranks):
        boxes.append(Box((start, *[0] * (value.ndim - 1)), rows))
        start += len(rows)
    parts = Parts({"w": torch.empty(shape, device="meta")}, {"w": boxes})
    assert torch.equal(whole(parts)["w"], value)
    lost = Parts(parts.outline, {"w": boxes[1:]})
    with pytest.raises(UserError, match=r"damaged: \S+ values of w are in no shard"):
        whole(lost)


def test_a_rank_gets_its_own_shards(one_rank, sharded):
    outline, shards = split(sharded)
    parts = Parts(outline, {key: [box] for key, box in shards.items()})
    ours = sharded_like(parts, lambda key: sharded["state_dict"].get(key.partition("/")[2]))
    assert torch.equal(ours["state_dict"]["w"].full_tensor(), CONTENT["state_dict"]["w"])
    assert ours["optimizer_states"][0]["state"][0]["exp_avg"].is_meta  # not asked for
    other = distribute_tensor(torch.ones(2, 2), one_rank, [Shard(0)])
    with pytest.raises(UserError, match=r"state_dict/w has shape \[50, 100\].* has \[2, 2\]"):
        sharded_like(parts, {"state_dict/w": other}.get)


def test_states_that_ranks_keep_for_themselves_are_refused(tmp_path, sharded):
    sharded["optimizer_states"][0]["state"][0]["exp_avg"] = torch.ones(3)
    with pytest.raises(CheckpointNotWritten, match=r"optimizer's state .*/0/exp_avg is a plain"):
        save_folder(sharded, tmp_path / "last.ckpt")
    assert names(tmp_path) == []
