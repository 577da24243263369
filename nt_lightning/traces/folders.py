"""Which files of a folder are the rows of a set, where a download has left them."""

from __future__ import annotations

import re
from pathlib import Path

from nt_lightning.errors import UserError
from nt_lightning.traces.pool import MANIFEST

LINES = (".jsonl", ".jsonl.gz", ".ndjson")
SPLITS = {"train": "train", "test": "test", "validation": "validation"}
SPLITS |= {"valid": "validation", "val": "validation", "dev": "validation"}
_SPLIT = re.compile(rf"(?:^|[-_.])({'|'.join(SPLITS)})(?:[-_.\d]|$)")


def files_of(folder: Path, config_name: str | None, split: str | None) -> list[Path]:
    """The files of one configuration and split in a folder, as a download of a set leaves them.

    Args:
        folder: With Parquet or JSONL files in it or below it.
        config_name: Name of the folder inside it whose files are taken; ``None``: there is one.
        split: Which files, where names of files or folders say it; ``None``: ``train``.

    Raises:
        UserError: It is not clear which files are meant, there are none, or it is a pool.
    """
    if (folder / MANIFEST).is_file():
        raise UserError(f"input: {folder} is a pool already; it needs no import")
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.name.endswith((*LINES, ".parquet"))
        # a download keeps its own notes in .cache
        and not any(name.startswith(".") for name in file.relative_to(folder).parts)
    ]
    if config_name is not None:
        files = [file for file in files if config_name in file.relative_to(folder).parts[:-1]]
    if not files:
        inside = f" in a folder {config_name}" if config_name else ""
        raise UserError(f"input: {folder} has no Parquet or JSONL files{inside}")
    files = _of_split(files, folder, split)
    parents = sorted({str(file.parent.relative_to(folder)) for file in files})
    if len(parents) > 1:
        raise UserError(
            f"input: {folder} has files in several folders ({', '.join(parents)}); give one of "
            "them as --input, or its name as --config_name"
        )
    return files


def _of_split(files: list[Path], folder: Path, split: str | None) -> list[Path]:
    """Files of the split, where the names of files or folders say which they are of."""
    splits = {file: _split_of(file.relative_to(folder)) for file in files}
    found = sorted({one for one in splits.values() if one})
    if not found and split is None:
        return files
    wanted = SPLITS.get(split or "train", split or "train")
    if wanted not in found:
        raise UserError(
            f"split: {folder} has no files of the split {wanted!r}; by their names there are: "
            f"{', '.join(found) or 'none'}"
        )
    return [file for file, one in splits.items() if one == wanted]


def _split_of(path: Path) -> str | None:
    for name in (path.name, *reversed(path.parts[:-1])):
        if found := _SPLIT.search(name):
            return SPLITS[found[1]]
    return None
