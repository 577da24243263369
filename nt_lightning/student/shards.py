"""Reading a sharded checkpoint without running what is in it.

torch's own reader unpickles ``.metadata`` and every value that is no tensor, so that a checkpoint
could run code. Here ``.metadata`` may name torch's descriptions of tensors and nothing else, and
values are read as ``torch.load(weights_only=True)`` reads them.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.planner import ReadItem

from nt_lightning.errors import UserError

_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    **{
        (cls.__module__, cls.__qualname__): cls
        for cls in (
            metadata.Metadata,
            metadata.MetadataIndex,
            metadata.StorageMeta,
            metadata.TensorProperties,
            metadata.TensorStorageMetadata,
            metadata.BytesStorageMetadata,
            metadata.ChunkStorageMetadata,
            metadata._MEM_FORMAT_ENCODING,
            filesystem._StorageInfo,
            torch.Size,
            PosixPath,
        )
    },
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
}


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found: Any = _ALLOWED.get((module, name))
        if found is None and module == "torch":
            found = getattr(torch, name, None)
            found = found if isinstance(found, torch.dtype) else None
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor's metadata")
        return found


class ShardReader(dcp.FileSystemReader):
    """torch's reader of a folder of shards; its ``.metadata`` cannot run code.

    Args:
        folder: The checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the folder holds.

        Raises:
            UserError: It is damaged, or names anything but tensors' metadata.
        """
        try:
            content = (self.folder / ".metadata").read_bytes()
            found = _MetadataUnpickler(io.BytesIO(content)).load()
        except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{self.folder} is no sharded checkpoint, or damaged: {error}"
            ) from None
        if not isinstance(found, Metadata):
            raise UserError(f"{self.folder} is no sharded checkpoint: .metadata holds none")
        found.storage_meta = found.storage_meta or StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found


class ShardPlanner(DefaultLoadPlanner):
    """torch's planner; values that are no tensors are plain ones, or refused."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Take one value over."""
        content = torch.load(value, weights_only=True)
        safe = io.BytesIO()
        torch.save(content, safe)
        safe.seek(0)
        super().load_bytes(read_item, safe)


def load_shards(state: dict[str, Any], folder: Path) -> None:
    """Fill a state dict in place from a folder of shards; every rank reads what it needs.

    Raises:
        UserError: The folder is damaged, or holds what is no plain value.
    """
    ShardReader(folder).read_metadata()  # torch would tell of an error in a page
    alone = not torch.distributed.is_initialized()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*in a single process.*")  # as intended
        try:
            dcp.load(
                state, storage_reader=ShardReader(folder), planner=ShardPlanner(), no_dist=alone
            )
        except (dcp.api.CheckpointException, RuntimeError, pickle.UnpicklingError) as error:
            raise UserError(f"{folder} could not be read: {error}") from None


class ShardedTensors(Mapping[str, Tensor]):
    """Tensors of a sharded checkpoint by name, each read whole when it is asked for.

    Args:
        folder: The checkpoint.
        prefix: Keys that begin so are the mapping's, without it.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self._entries = {
            key.removeprefix(prefix): entry
            for key, entry in ShardReader(folder).read_metadata().state_dict_metadata.items()
            if key.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
        }

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
        load_shards({self.prefix + name: tensor}, self.folder)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> torch.Size:
        """Shape of a tensor, which is not read for it."""
        return self._entries[name].size
