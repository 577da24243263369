"""Where rows come from: JSONL, JSON and Parquet files, a folder of them, or a set of the Hub."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from tqdm import tqdm

from nt_lightning.errors import UserError
from nt_lightning.files import digest, sha256_file
from nt_lightning.traces.folders import LINES, files_of
from nt_lightning.traces.shapes import BadRowError, Row
from nt_lightning.traces.tables import HUB_NAME, HubSet, ParquetFile

Choose = Callable[[list[str]], list[str]]
_READ = "read are: .jsonl with one JSON object a line, .json with such lines or a list, .parquet"
_LIST = "a file that is one list is called .json"


class Place(NamedTuple):
    """A row's file or set, and its number there, from 0."""

    where: str
    row: int

    def __str__(self) -> str:
        return f"{self.where}: row {self.row} (counted from 0)"


class Part(Protocol):
    """A file, or another thing whose rows are numbered from 0."""

    where: str

    def rows(self, choose: Choose) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows, or why a row cannot be read.

        Args:
            choose: Which of the columns are read, where the part knows its columns.
        """

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as they stand there, in their order."""


class Source:
    """Rows of one or several parts, one after the other, numbered from 0 over all of them.

    Args:
        name: Of the set, for ids.
        title: For messages.
        parts: In order.
        lineage: Where the rows come from and which bytes they were, as plain JSON.
    """

    def __init__(
        self, name: str, title: str, parts: Sequence[Part], lineage: Callable[[], dict[str, Any]]
    ) -> None:
        self.name, self.title, self.parts, self.lineage = name, title, parts, lineage
        self._starts: list[int] = []  # of the parts that have been read

    def rows(self, choose: Choose) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows, or why a row cannot be read."""
        self._starts, start = [], 0
        for part in self.parts:
            self._starts.append(start)
            last = -1
            for last, row in part.rows(choose):
                yield start + last, row
            start += last + 1

    def place(self, number: int) -> Place:
        """Where a row is that has been read."""
        index = bisect_right(self._starts, number) - 1
        return Place(self.parts[index].where, number - self._starts[index])

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as they stand in the source, in their order, read a second time."""
        for start, end, part in zip(
            self._starts, [*self._starts[1:], sys.maxsize], self.parts, strict=True
        ):
            if inside := {number - start for number in numbers if start <= number < end}:
                for number, text in part.texts(inside):
                    yield start + number, text


class JsonLines:
    """A file of one JSON object a line, or of one list of objects.

    Lines are read one at a time; a list is read whole. Only a newline ends a line; ``.gz`` is
    unpacked; a row's number is that of its line, blank ones counted.

    Args:
        path: The file, in UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)

    def rows(self, choose: Choose) -> Iterator[tuple[int, Row | BadRowError]]:
        """Numbers and rows, or why a row cannot be read."""
        if self._is_list():
            yield from enumerate(map(_as_object, self._list()))
            return
        packed = self.path.suffix == ".gz"
        with tqdm(
            total=None if packed else self.path.stat().st_size,
            desc=f"reading {self.path.name}",
            unit="B",
            unit_scale=True,
            delay=3,
            disable=None,
        ) as bar:
            for number, line in self._lines():
                yield number, _parsed(line)
                bar.update(len(line))

    def texts(self, numbers: Collection[int]) -> Iterator[tuple[int, str]]:
        """Some rows as they stand in the file."""
        if self._is_list():
            for number, row in enumerate(self._list()):
                if number in numbers:
                    yield number, json.dumps(row, ensure_ascii=False)
            return
        for number, line in self._lines():
            if number in numbers:
                yield number, line.decode("utf-8", errors="replace").rstrip("\r\n")

    def _is_list(self) -> bool:
        first = next(self._lines(), (0, b""))[1]
        if not first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            return False
        # in a file of lines, a line that is a list is one bad row of many
        return self.path.name.removesuffix(".gz").endswith(".json")

    def _list(self) -> list[Any]:
        try:
            with _unpacked(self.path) as handle:
                found = json.loads(handle.read().decode("utf-8-sig"))
        except UserError:
            raise
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}: is no JSON: {error}") from None
        assert isinstance(found, list)  # it begins with a bracket
        return found

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Numbers and bytes of the lines that are not blank; binary, because U+2028 ends none."""
        with _unpacked(self.path) as handle:
            yield from ((number, line) for number, line in enumerate(handle) if line.strip())


def open_source(given: str, config_name: str | None = None, split: str | None = None) -> Source:
    """A local file or folder, or a data set of the Hub.

    Args:
        given: A path, or ``owner/name``.
        config_name: Configuration of a set; in a folder, the folder inside it.
        split: Split of a set, default ``train``; in a folder, what the files' names say.

    Raises:
        UserError: There is no such thing, or it is not clear which files are meant.
    """
    path = Path(given)
    if path.is_file():
        for option, value in (("config_name", config_name), ("split", split)):
            if value is not None:
                raise UserError(f"{option}: {given} is one file and has none")
        part, stem = _part(path), Path(path.name.removesuffix(".gz")).stem
        return Source(stem, given, [part], lambda: _file_lineage(path))
    if path.is_dir():
        files = files_of(path, config_name, split)
        name = path.resolve().name
        name = path.resolve().parent.name if name == "data" else name
        parts = [_part(file) for file in files]
        return Source(name, given, parts, lambda: _lineage(path, files))
    if not HUB_NAME.fullmatch(given) or given.endswith((*LINES, ".json", ".parquet", ".gz")):
        raise UserError(f"{given}: there is no such file")
    hub = HubSet(given, config_name, split or "train")
    name = given.partition("/")[2]
    name = name if hub.split == "train" else f"{name}-{hub.split}"
    return Source(name, given, [hub], hub.lineage)


def opener(path: Path) -> Any:
    """``open``, or gzip's where the name says so."""
    return gzip.open if path.suffix == ".gz" else open


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    try:
        with opener(path)(path, "rb") as handle:
            yield handle
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is no whole gzip file: {error}") from None


def _part(path: Path) -> Part:
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv", ".xlsx")):
        raise UserError(f"{path}: a table is not read; {_READ}")
    return ParquetFile(path) if path.suffix == ".parquet" else JsonLines(path)


def _parsed(line: bytes) -> Row | BadRowError:
    try:
        return _as_object(json.loads(line.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return BadRowError(f"is no UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        hint = f"; {_LIST}" if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"[") else ""
        return BadRowError(f"is no JSON: {error} ({_READ}{hint})")


def _as_object(value: Any) -> Row | BadRowError:
    hint = f": {_LIST}" if isinstance(value, list) else ""
    return value if isinstance(value, dict) else BadRowError(f"is no JSON object{hint}")


def _file_lineage(path: Path) -> dict[str, Any]:
    return {"input": str(path.resolve()), "input_sha256": sha256_file(path)}


def _lineage(folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    found = {str(file.relative_to(folder)): sha256_file(file) for file in files}
    return {"input": str(folder.resolve()), "input_sha256": digest(found), "input_files": found}
