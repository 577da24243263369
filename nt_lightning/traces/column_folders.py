"""Folders of columns that a command has written beside a pool's traces, every byte verifiable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.files import digest, sha256_file, write_json

INFO = "info.json"


def read_info(folder: Path) -> dict[str, Any]:
    """What ``info.json`` says: what the columns depend on, and the digests of their files.

    Raises:
        UserError: It is missing or damaged.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        checksum = info.pop("checksum")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        checksum, info = None, {}
    if checksum != digest(info):
        raise UserError(f"{path} is damaged: its text is not what was written; remove {folder}")
    return dict(info)


def write_info(folder: Path, files: Sequence[str], info: Mapping[str, Any]) -> None:
    """Write ``info.json`` with the time and the digests of the files that are there.

    Args:
        folder: Where they are.
        files: Names of those that hold the columns.
        info: What else is to be known, as plain JSON.
    """
    said = {
        **info,
        "created": datetime.now(UTC).isoformat(),
        "sha256": {name: sha256_file(folder / name) for name in files},
    }
    write_json(folder / INFO, {**said, "checksum": digest(said)})


def verified_info(folder: Path) -> dict[str, Any]:
    """What ``info.json`` says, after every byte of the files that it names has been verified.

    Raises:
        UserError: A file is missing, or a byte is not what was written.
    """
    info = read_info(folder)
    for name, expected in info["sha256"].items():
        file = folder / name
        if not file.is_file() or sha256_file(file) != expected:
            raise UserError(
                f"{file} is damaged: its sha256 is not that of {INFO}; remove {folder} and give "
                "the command that wrote it again"
            )
    return info


def marks_of(pool: Path, pattern: str) -> list[list[Any]]:
    """What changes when a pool's columns do: folder, time and digests of each.

    Args:
        pool: Folder of the pool.
        pattern: Names of the folders below ``columns``, such as ``embedding-*``.
    """
    infos = [(path.name, read_info(path)) for path in sorted(pool.glob(f"columns/{pattern}"))]
    return [[name, info["created"], sorted(info["sha256"].items())] for name, info in infos]
