"""Checkpoints that are either whole or absent, and proved whole when they are read."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from nt_lightning.errors import UserError
from nt_lightning.files import remove_whole, replacing, sweep, sweep_folder
from nt_lightning.runs import CHECKPOINTS
from nt_lightning.student.hashed_file import Written
from nt_lightning.student.sealed import (
    check_member,
    check_sealed,
    read_manifest,
    write_hashed,
    write_manifest,
    write_sealed,
)
from nt_lightning.student.shards import (
    META,
    Parts,
    open_parts,
    read_mapped,
    shard_name,
    split,
    whole,
)

_T = TypeVar("_T")


class CheckpointNotWritten(UserError):
    """A checkpoint could not be written; the run ends, and what was saved before is intact."""


class AtomicCheckpointIO(CheckpointIO):
    """One file: streamed beside its place, hashed, flushed to the disk, sealed and renamed.

    Lightning's own copies the whole checkpoint in memory first, returns silently when the folder
    cannot be written, and reads whatever it finds. Sharded checkpoints are read, too.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint, and remove what killed processes have left beside it.

        Raises:
            CheckpointNotWritten: A file or folder at ``path`` is as it was.
        """
        path = Path(path)
        try:
            _sweep_around(path)
            with replacing(path) as partial:
                write_sealed(checkpoint, partial)
                read_mapped(partial)  # a callback's state that could not be read is told of now
        except (OSError, RuntimeError, pickle.PickleError, AttributeError, TypeError) as error:
            raise _not_written(path, error) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint into mapped memory, all tensors whole; nothing in it is executed.

        Args:
            path: A file, or the folder of a sharded checkpoint.
            map_location: Lightning's; not used, tensors are on the CPU.
            weights_only: Lightning's; not used, always true.

        Raises:
            UserError: It is damaged, or was not written by nt_lightning.
        """
        check_checkpoint(Path(path))
        return whole(open_checkpoint(Path(path)))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file or folder; a kill leaves nothing that looks like a checkpoint."""
        remove_whole(Path(path))


def with_checkpoints(plugins: Sequence[Any]) -> list[Any]:
    """A trainer's plugins and our checkpoints, within Lightning's AsyncCheckpointIO if it is there.

    That one copies the state and writes it in a thread while training goes on; a failure is heard
    at the next save.

    Args:
        plugins: Those of the recipe.
    """
    for plugin in plugins:
        if isinstance(plugin, AsyncCheckpointIO):
            plugin.checkpoint_io = AtomicCheckpointIO()
            return [*plugins]
    return [*plugins, AtomicCheckpointIO()]


def check_checkpoint(path: Path) -> None:
    """Prove a checkpoint to be what was written, byte by byte.

    Raises:
        UserError: It is not; names another one beside it to go on with, if there is any.
    """
    _or_another(path, lambda: _check(path))


def check_together(path: Path) -> None:
    """``check_checkpoint`` on all ranks, each with its share of a folder's files.

    Raises:
        UserError: On all ranks, where any of them has found damage.
    """
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    _or_another(path, lambda: together(lambda: _check(path, rank, num_ranks)))


def open_checkpoint(path: Path) -> Parts:
    """Map a checkpoint that has been checked: a file, or a folder of shards.

    Raises:
        UserError: It holds what no checkpoint holds.
    """
    try:
        if path.is_dir():
            parts = open_parts(path, read_manifest(path)["files"].keys() - {META})
        else:
            parts = Parts(read_mapped(path), {})
    except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is no checkpoint: {reason}") from None
    if not isinstance(parts.outline, dict):
        raise UserError(f"{path} is no checkpoint: it holds no dict")
    return parts


def save_folder(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a sharded checkpoint, all ranks together; none holds more than its shards.

    Raises:
        CheckpointNotWritten: On all ranks, where any of them could not write; what was at ``path``
            is as it was.
    """
    rank = dist.get_rank()

    def begin() -> Path | None:
        if rank:
            return None
        _sweep_around(path)
        folder = making.enter_context(replacing(path))
        folder.mkdir()
        return folder

    def write() -> Written:
        assert folder is not None
        shards = {key: tuple(box) for key, box in split(checkpoint)[1].items()}
        return write_hashed(shards, folder / shard_name(rank))

    def finish() -> None:
        if rank or folder is None:
            return
        outline = split(checkpoint)[0]
        files = {shard_name(place): shard for place, shard in enumerate(written)}
        files[META] = write_hashed(outline, folder / META)
        read_mapped(folder / META)  # a callback's state that could not be read is told of now
        write_manifest(folder, files, outline)
        making.close()

    with ExitStack() as making:
        try:
            folder = together(begin)[0]
            written = together(write)
            together(finish)
        except UserError as error:
            raise _not_written(path, error) from None


def together(action: Callable[[], _T]) -> list[_T]:
    """Do something on every rank; what it gave on all of them, in their order.

    Raises:
        UserError: On all ranks, where it failed on any; says where and why.
    """
    mine: tuple[_T | None, str | None]
    try:
        mine = action(), None
    except Exception as error:  # whatever it is, the other ranks wait
        mine = None, str(error) or type(error).__name__
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, mine)
    failed = {error: rank for rank, (_, error) in reversed([*enumerate(every)]) if error}
    if failed:
        raise UserError("; ".join(f"{error} (rank {rank})" for error, rank in failed.items()))
    return [result for result, _ in every]


def _check(path: Path, rank: int = 0, num_ranks: int = 1) -> None:
    """Check a file on the first rank, or every rank's share of the files of a folder."""
    try:
        if path.is_dir():
            about = read_manifest(path)
            for name in sorted(about["files"])[rank::num_ranks]:
                check_member(path, name, about)
        elif rank == 0:
            check_sealed(path)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error}") from None


def _or_another(path: Path, check: Callable[[], object]) -> None:
    """Add to what is wrong which other checkpoint is whole: the newest one beside it."""
    try:
        check()
    except UserError as error:
        others = {other: other.stat().st_mtime for other in path.parent.glob("*.ckpt")}
        newest_first = sorted(others.keys() - {path}, key=others.__getitem__, reverse=True)
        whole_one = next(filter(_is_whole, newest_first), None)
        if whole_one is None:
            raise UserError(f"{error}; there is no other checkpoint beside it") from None
        raise UserError(f"{error}; the newest that is whole: --ckpt_path {whole_one}") from None


def _is_whole(path: Path) -> bool:
    try:
        _check(path)
    except UserError:
        return False
    return True


def _sweep_around(path: Path) -> None:
    """Remove what killed saves have left; in a run's own folder also those of other hosts."""
    if path.parent.name == CHECKPOINTS:
        sweep_folder(path.parent)
    else:
        sweep(path)


def _not_written(path: Path, error: Exception) -> CheckpointNotWritten:
    return CheckpointNotWritten(
        f"the checkpoint {path} could not be written: {error}; older checkpoints are intact"
    )
