"""Checkpoints in parts: every rank writes its shards, and any number of ranks reads them.

A folder holds ``shard-<rank>.pt``, a dict of boxes; ``meta.pt``, the checkpoint with an empty
tensor on the meta device for every sharded one; and ``manifest.json``, the seal of both. The form
is ours: PyTorch's own keeps its table of contents as a pickle that is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from nt_lightning.errors import UserError

META = "meta.pt"
_Change = Callable[[str, Tensor], Tensor]


class Box(NamedTuple):
    """A part of a tensor.

    Args:
        start: Its first element's place in every dimension.
        values: What is there.
    """

    start: tuple[int, ...]
    values: Tensor


class Parts(NamedTuple):
    """A checkpoint that was read without its sharded tensors.

    Args:
        outline: The checkpoint; a sharded tensor is one on the meta device.
        boxes: Parts of the sharded tensors by their keys, mapped into memory.
    """

    outline: dict[str, Any]
    boxes: dict[str, list[Box]]


def shard_name(rank: int) -> str:
    """The file of a rank's shards."""
    return f"shard-{rank:05d}.pt"


def change_tensors(value: Any, change: _Change, key: str = "") -> Any:
    """A nested value of dicts and lists with ``change(key, tensor)`` in place of every tensor.

    Keys are the way there: ``state_dict/norm.weight``, ``optimizer_states/0/state/3/exp_avg``.
    """
    if isinstance(value, Tensor):
        return change(key, value)
    if isinstance(value, dict):
        return {
            name: change_tensors(entry, change, f"{key}/{name}" if key else str(name))
            for name, entry in value.items()
        }
    if isinstance(value, list):
        return [
            change_tensors(entry, change, f"{key}/{place}") for place, entry in enumerate(value)
        ]
    return value


def split(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Box]]:
    """What one rank writes of a checkpoint, and what each writes; nothing is copied.

    Raises:
        UserError: The optimizer keeps values of its own on every rank, such as those of 8 bits.
    """
    shards: dict[str, Box] = {}

    def part(key: str, tensor: Tensor) -> Tensor:
        if isinstance(tensor, DTensor):
            if not _is_replica(tensor):
                shards[key] = _own_box(tensor)
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        if key.startswith("optimizer_states/") and tensor.ndim:
            raise UserError(
                f"the optimizer's state {key} is a plain tensor of {list(tensor.shape)}, which the "
                "ranks cannot put together; under fsdp2 an optimizer's state has to be sharded as "
                "the weights are (torch.optim's are)"
            )
        return tensor.detach()

    return change_tensors(checkpoint, part), shards


def open_parts(folder: Path, shards: Iterable[str]) -> Parts:
    """Read a checkpoint's outline and map its shards; they have been checked.

    Args:
        folder: The checkpoint.
        shards: Names of its files of shards.
    """
    boxes: dict[str, list[Box]] = {}
    for name in shards:
        for key, (start, values) in read_mapped(folder / name).items():
            boxes.setdefault(key, []).append(Box(tuple(start), values))
    return Parts(read_mapped(folder / META), boxes)


def read_mapped(path: Path) -> Any:
    """A file of ``torch.save`` in mapped memory, without executing what it may hold."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


class LazyTensors(Mapping[str, Tensor]):
    """Tensors of a checkpoint, put together when they are asked for; none is kept here.

    Args:
        parts: The checkpoint.
        entry: Key of a dict of tensors in its outline, such as ``state_dict``.
        prefix: What the names of those that are meant begin with; it is left out.
    """

    def __init__(self, parts: Parts, entry: str, prefix: str = "") -> None:
        self._parts = parts
        self._key = f"{entry}/{prefix}"
        named = parts.outline.get(entry) or {}
        self.outline: dict[str, Tensor] = {
            name.removeprefix(prefix): tensor
            for name, tensor in named.items()
            if name.startswith(prefix)
        }  # shapes and dtypes are right, values may be absent

    def __getitem__(self, name: str) -> Tensor:
        return _whole(self._parts, self._key + name, self.outline[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.outline)

    def __len__(self) -> int:
        return len(self.outline)


def whole(parts: Parts) -> dict[str, Any]:
    """The checkpoint with every tensor whole."""
    if not parts.boxes:
        return parts.outline
    return change_tensors(  # type: ignore[no-any-return]
        parts.outline, lambda key, tensor: _whole(parts, key, tensor)
    )


def sharded_like(parts: Parts, like: Callable[[str], Tensor | None]) -> dict[str, Any]:
    """The checkpoint with this rank's shards alone.

    Args:
        parts: Sharded or not.
        like: The tensor of this run that a key's values are for, or whose state they are; None
            where there is none: a sharded tensor then stays empty.

    Raises:
        UserError: A tensor has another shape than its counterpart.
    """

    def fetch(key: str, tensor: Tensor) -> Tensor:
        ours = like(key)
        if not isinstance(ours, DTensor) or not tensor.ndim:
            return tensor
        if ours.shape != tensor.shape:
            raise UserError(
                f"the checkpoint's {key} has shape {list(tensor.shape)}; this student's has "
                f"{list(ours.shape)}"
            )
        local = ours.to_local()
        values = torch.empty(local.shape, dtype=tensor.dtype, device=local.device)
        sources = parts.boxes[key] if tensor.is_meta else [Box((0,) * tensor.ndim, tensor)]
        _filled(key, Box(_own_box(ours).start, values), sources)
        return DTensor.from_local(
            values,
            ours.device_mesh,
            ours.placements,
            run_check=False,
            shape=ours.shape,
            stride=ours.stride(),
        )

    return change_tensors(parts.outline, fetch)  # type: ignore[no-any-return]


def _whole(parts: Parts, key: str, tensor: Tensor) -> Tensor:
    """A tensor of the outline with its values."""
    if not tensor.is_meta:
        return tensor
    target = Box((0,) * tensor.ndim, torch.empty(tensor.shape, dtype=tensor.dtype))
    return _filled(key, target, parts.boxes.get(key, []))


def _is_replica(tensor: DTensor) -> bool:
    """Whether another rank has the same values, and is the one to write them."""
    place = tensor.device_mesh.get_coordinate()
    assert place is not None
    return any(
        where and placement.is_replicate()
        for where, placement in zip(place, tensor.placements, strict=True)
    )


def _own_box(tensor: DTensor) -> Box:
    """This rank's part of a tensor."""
    local = tensor.to_local().detach()
    if not local.numel():  # more ranks than rows
        return Box((0,) * tensor.ndim, local)
    [chunk] = tensor.__create_chunk_list__()
    return Box(tuple(chunk.offsets), local)


def _filled(key: str, target: Box, sources: list[Box]) -> Tensor:
    """The target's values, copied from where the sources overlap it.

    Raises:
        UserError: The sources leave a gap.
    """
    missing = target.values.numel()
    done: set[tuple[int, ...]] = set()
    for source in sources:
        low = tuple(map(max, target.start, source.start))
        high = tuple(map(min, _end(target), _end(source)))
        if low in done or any(a >= b for a, b in zip(low, high, strict=True)):
            continue  # a replica of what is there already; apart
        done.add(low)
        place = _slices(low, high, target.start)
        target.values[place] = source.values[_slices(low, high, source.start)]
        missing -= target.values[place].numel()
    if missing:
        raise UserError(f"the checkpoint is damaged: {missing:,} values of {key} are in no shard")
    return target.values


def _end(box: Box) -> tuple[int, ...]:
    return tuple(a + n for a, n in zip(box.start, box.values.shape, strict=True))


def _slices(
    low: tuple[int, ...], high: tuple[int, ...], start: tuple[int, ...]
) -> tuple[slice, ...]:
    return tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
