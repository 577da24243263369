"""Files that are either whole or absent: written beside, flushed to disk, renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from nt_lightning.errors import UserError

_LEFT = re.compile(r"\.[0-9a-f]{8}\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)\.(partial|old)")


def cache_dir() -> Path:
    """Folder for what can be made again: ``$NT_CACHE``, else ``$XDG_CACHE_HOME/nt_lightning``."""
    if explicit := os.environ.get("NT_CACHE"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "nt_lightning"


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path``; on success it is fsynced and renamed over it, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path, "partial")
    try:
        yield partial
        fsync_path(partial)
        os.replace(partial, path)
        fsync_path(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new path beside ``path``; the file or folder made there takes the place of ``path``.

    What killed processes have left there is removed first, see ``sweep``. A file replaces a file
    at once; where a folder goes or comes there are two renames.
    """
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    partial = _beside(path, "partial")
    try:
        yield partial
        for file in [*partial.rglob("*"), partial]:
            fsync_path(file)
        _swap(partial, path)
    finally:
        _remove(partial)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it takes the place of ``path``.

    What killed processes have left there is removed first, see ``sweep``.

    Raises:
        UserError: ``path`` is a file.
    """
    if path.is_file():
        raise UserError(f"{path} is a file; a folder is to be written there")
    with replacing(path) as partial:
        partial.mkdir()
        yield partial


@contextmanager
def waiting_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, where there is room for as much; then remove it."""
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path, "partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what killed processes of this host have left half written beside ``path``.

    Where one was killed between the two renames of ``replacing``, the older file or folder comes
    back. What another host wrote stays: whether its process lives is not known here.
    """
    path = Path(os.path.abspath(path))
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        found = _LEFT.fullmatch(left.name.removeprefix(f".{path.name}"))
        if found is not None and found["host"] == _host() and not _is_alive(int(found["pid"])):
            _tidy(left, path)


def sweep_folder(folder: Path) -> None:
    """Remove what killed processes have left half written anywhere in a folder.

    Also what other hosts have left: the folder is one that a single run writes to, such as a run's
    checkpoints, and a run may go on where it was not begun.
    """
    for left in Path(os.path.abspath(folder)).glob(".*"):
        found = re.fullmatch(rf"\.(?P<name>.+){_LEFT.pattern}", left.name)
        if found is None or (found["host"] == _host() and _is_alive(int(found["pid"]))):
            continue
        _tidy(left, left.with_name(found["name"]))


def remove_whole(path: Path) -> None:
    """Remove a file or a folder that nobody shall find half removed."""
    with suppress(FileNotFoundError):
        gone = _beside(path, "partial")
        os.replace(path, gone)
        _remove(gone)


def _tidy(left: Path, path: Path) -> None:
    """Remove a leftover, or give ``path`` back what was to be replaced."""
    with suppress(OSError):  # another process tidies too, or may not
        if left.suffix == ".old" and not path.exists():
            os.replace(left, path)
        else:
            _remove(left)


def _remove(path: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


@contextmanager
def tidy_at_sigterm(stops_by_itself: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Let SIGTERM leave the body as Ctrl+C does, so that no partial file stays; exit code 143.

    A second one is not heard: the body is leaving, and its tidying must not be cut off.

    Args:
        stops_by_itself: Whether the body has heard the signal, too, and is about to end.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        if not stops_by_itself():
            signal.signal(number, signal.SIG_IGN)
            raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread, which alone hears it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _swap(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; another process may do the same meanwhile, the last one stays."""
    old = _beside(path, "old")
    try:
        while True:
            if new.is_dir() or path.is_dir():
                with suppress(FileNotFoundError):
                    os.replace(path, old)
            try:
                os.replace(new, path)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                _remove(old)
    except BaseException:  # Ctrl+C, too, may come between the two
        if os.path.lexists(old) and not os.path.lexists(path):
            os.replace(old, path)
        raise
    fsync_path(path.parent)
    _remove(old)


def _beside(path: Path, ending: str) -> Path:
    """A hidden name that is new and says which process it belongs to; see ``sweep``."""
    owner = f"{uuid.uuid4().hex[:8]}.{_host()}-{os.getpid()}"
    return path.with_name(f".{path.name}.{owner}.{ending}")


def _host() -> str:
    """Eight digits for where a process id means the same process: this host, this container."""
    space = Path("/proc/self/ns/pid")
    return digest([platform.node(), os.readlink(space) if space.is_symlink() else ""])[:8]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process at all
        return True
    return True


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with replacing_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
