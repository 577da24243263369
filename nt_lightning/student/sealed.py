"""Files of a checkpoint that prove themselves: SHA-256 of every byte, checked before it is read.

A file ends with a seal, behind what ``torch.save`` wrote and ``torch.load`` reads: one line of JSON
about the file, with its own digest, and a footer that says how long the line is. A folder's seal is
its ``manifest.json``. The forms are our choice.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nt_lightning import __version__
from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.student.hashed_file import HashedFile, Written, read_hashed

MANIFEST = "manifest.json"
_FOOTER = struct.Struct("<Q8s")  # length of the line in bytes, _MAGIC
_MAGIC = b"nt-seal1"


def describe(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a seal says about a checkpoint: its place, the ranks and versions, the time (UTC)."""
    return {
        "step": content.get("global_step"),
        "epoch": content.get("epoch"),
        "world_size": dist.get_world_size() if dist.is_initialized() else 1,
        "nt_lightning": __version__,
        "torch": torch.__version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_hashed(content: Any, path: Path) -> Written:
    """Stream what ``torch.load`` reads to a new file, hashing it meanwhile."""
    with HashedFile(path) as file:
        return _stream(content, file)


def write_sealed(content: Mapping[str, Any], path: Path) -> None:
    """``write_hashed``, with a seal behind it."""
    with HashedFile(path) as file:
        written = _stream(content, file)
        line = seal({**written._asdict(), **describe(content)})
        file.write(line + _FOOTER.pack(len(line), _MAGIC))


def check_sealed(path: Path) -> None:
    """Raise UserError unless every byte of a file is the one that was written."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _FOOTER.size, 0))
        footer = file.read()
        length, magic = _FOOTER.unpack(footer) if len(footer) == _FOOTER.size else (0, b"")
        start = size - _FOOTER.size - length
        if magic != _MAGIC or start < 0:
            raise UserError(
                f"{path} is no checkpoint that nt_lightning has written, or is damaged: "
                "it does not end with a seal"
            )
        file.seek(start)
        about = unseal(file.read(length), path)
        file.seek(0)
        _compare(path, Written(about["sha256"], about["size"]), read_hashed(file, start))


def check_member(folder: Path, name: str, about: Mapping[str, Any]) -> None:
    """Raise UserError unless a file of a sealed folder is the one that was written.

    Args:
        folder: The checkpoint.
        name: The file's.
        about: The folder's manifest.
    """
    path = folder / name
    if not path.is_file():
        raise UserError(f"{folder} is damaged: {name} is missing")
    with path.open("rb") as file:
        found = read_hashed(file, path.stat().st_size)
    _compare(path, Written(*about["files"][name]), found)


def write_manifest(folder: Path, files: Mapping[str, Written], content: Mapping[str, Any]) -> None:
    """Seal a folder of files that ``write_hashed`` wrote."""
    (folder / MANIFEST).write_bytes(seal({"files": dict(files), **describe(content)}))


def read_manifest(folder: Path) -> dict[str, Any]:
    """A sealed folder's manifest; its ``files`` are pairs of SHA-256 and bytes.

    Raises:
        UserError: It is damaged, or the folder is no checkpoint.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} is a folder, but no checkpoint that nt_lightning has written: "
            f"it has no {MANIFEST}"
        )
    return unseal(path.read_bytes(), path)


def seal(about: Mapping[str, Any]) -> bytes:
    """One line of JSON that holds its own digest."""
    return json.dumps({**about, "seal": digest(about)}).encode() + b"\n"


def unseal(line: bytes, path: Path) -> dict[str, Any]:
    """What ``seal`` was given.

    Raises:
        UserError: A byte is another one.
    """
    try:
        about: dict[str, Any] = json.loads(line)
        del about["seal"]
        whole = seal(about) == line
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged: its seal is not as it was written")
    return about


def _stream(content: Any, file: HashedFile) -> Written:
    torch.save(content, file)  # type: ignore[arg-type]  # it calls `write` and `flush` alone
    return file.finish()


def _compare(path: Path, wanted: Written, found: Written) -> None:
    if wanted.size != found.size:
        raise UserError(
            f"{path} is damaged: it has {found.size:,} bytes, {wanted.size:,} were written"
        )
    if wanted.sha256 != found.sha256:
        raise UserError(f"{path} is damaged: its SHA-256 is not that of what was written")
