"""Lines of a report that wait in a file until their pool is complete."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Listing:
    """JSON lines, written as they come; the file goes with the object, or when the process ends.

    Args:
        folder: Where the file is; the system's folder for such files by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        # a lone surrogate of a benchmark's JSON goes out as it came in, as an escape
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 (closed with the object)
            "w+", encoding="utf-8", errors="backslashreplace", newline="\n", dir=folder
        )
        self._count = 0
        weakref.finalize(self, self._file.close)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write a line."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """The lines, without their ends; nothing may be added meanwhile."""
        self._file.seek(0)
        for line in self._file:
            yield line.removesuffix("\n")
        self._file.seek(0, 2)

    def write(self, path: Path) -> None:
        """Copy the lines into a file."""
        with path.open("w", encoding="utf-8", newline="\n") as out:
            self._file.seek(0)
            shutil.copyfileobj(self._file, out)
