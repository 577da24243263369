"""Which files of a folder are the rows of a set, where a download has left them."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path

from nt_lightning.errors import UserError
from nt_lightning.traces.pool import MANIFEST

log = logging.getLogger(__name__)
LINES = (".jsonl", ".jsonl.gz", ".ndjson")
SHOWN = 8  # files that are named
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
            Parquet beside JSONL is not clear (our choice): often both hold the same rows.
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
    _refuse_two_forms(files, folder)
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
    read = [file for file, one in splits.items() if one == wanted]
    if nameless := [file for file, one in splits.items() if one is None]:
        log.warning(
            "%s: read is %s; not read, since their names tell no split: %s",
            *(folder, _listed(read, folder), _listed(nameless, folder)),
        )
    return read


def _refuse_two_forms(files: list[Path], folder: Path) -> None:
    """Raise UserError where the same rows may stand in several files."""
    stems = {_stem(file) for file in files}
    if len(stems) < len(files) or len({file.suffix == ".parquet" for file in files}) > 1:
        raise UserError(
            f"input: {folder} has files of several forms, which may hold the same rows: "
            f"{_listed(files, folder)}; give one of them as --input"
        )


def _stem(file: Path) -> str:
    """A file's name without its form."""
    return next(file.name.removesuffix(e) for e in (*LINES, ".parquet") if file.name.endswith(e))


def _listed(files: Collection[Path], folder: Path) -> str:
    names = [str(file.relative_to(folder)) for file in files]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _split_of(path: Path) -> str | None:
    for name in (path.name, *reversed(path.parts[:-1])):
        if found := _SPLIT.search(name):
            return SPLITS[found[1]]
    return None
