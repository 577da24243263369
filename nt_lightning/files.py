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
from collections.abc import Iterator
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
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it takes the place of ``path``.

    What killed processes have left there is removed first, see ``sweep``.

    Raises:
        UserError: ``path`` is a file.
    """
    path = Path(os.path.abspath(path))
    if path.is_file():
        raise UserError(f"{path} is a file; a folder is to be written there")
    sweep(path)
    with waiting_folder(path) as partial:
        yield partial
        for file in [*partial.rglob("*"), partial]:
            fsync_path(file)
        _swap(partial, path)


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

    Where one was killed between the two renames of ``replacing_folder``, the older folder comes
    back. What another host wrote stays: whether its process lives is not known here.
    """
    path = Path(os.path.abspath(path))
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        found = _LEFT.fullmatch(left.name.removeprefix(f".{path.name}"))
        if found is None or found["host"] != _host() or _is_alive(int(found["pid"])):
            continue
        with suppress(OSError):  # another process sweeps too, or may not
            if left.suffix == ".old" and not path.exists():
                os.replace(left, path)
            elif left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


@contextmanager
def tidy_at_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the body as Ctrl+C does, so that no partial file stays; exit code 143."""

    def leave(number: int, frame: FrameType | None) -> None:
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
            with suppress(FileNotFoundError):
                os.replace(path, old)
            try:
                os.replace(new, path)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    if old.exists():
                        os.replace(old, path)
                    raise
                shutil.rmtree(old, ignore_errors=True)
        fsync_path(path.parent)
    finally:
        shutil.rmtree(old, ignore_errors=True)


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
