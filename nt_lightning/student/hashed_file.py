"""A file that is hashed while it is written, past the page cache.

A checkpoint is larger than what the system should keep in memory for it: pages that wait for the
disk are memory that training wants, and writing them later is slower than writing them now.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

_BLOCK = 1 << 22  # bytes of each of the two buffers; our choice
_DIRECT = getattr(os, "O_DIRECT", 0)


class Written(NamedTuple):
    """What was written into a file.

    Args:
        sha256: Hex, of all bytes.
        size: Bytes.
    """

    sha256: str
    size: int


class HashedFile:
    """A new file for ``torch.save``; on the disk when its ``with`` ends.

    What is written goes into one of two buffers; while one fills, the other is hashed and written.

    Args:
        path: Where no file is yet.

    Raises:
        OSError: It could not be written; torch says less, and later.
    """

    def __init__(self, path: Path) -> None:
        self._sha, self._size = hashlib.sha256(), 0
        self._error: OSError | None = None
        self._blocks = [mmap.mmap(-1, _BLOCK), mmap.mmap(-1, _BLOCK)]  # direct writing: aligned
        self._filled = 0
        self._under_way: list[Future[None]] = []
        self._threads = ThreadPoolExecutor(2)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._set_direct(True)

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
                os.fsync(self._handle)
        finally:
            self._threads.shutdown()
            os.close(self._handle)
        if self._error is not None and isinstance(error, RuntimeError):
            raise self._error from None

    def write(self, data: bytes | memoryview) -> int:
        """Take bytes; they are the caller's again when this returns."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            count = min(len(view) - done, _BLOCK - self._filled)
            block = memoryview(self._blocks[0])
            block[self._filled : self._filled + count] = view[done : done + count]
            done += count
            self._filled += count
            if self._filled == _BLOCK:
                self._hand_over()
        return len(view)

    def flush(self) -> None:
        """Asked for by ``torch.save``."""

    def finish(self) -> Written:
        """Write what is in the buffers; digest and size of all so far."""
        self._wait()
        self._set_direct(False)  # what is left is no whole block
        self._hand_over()
        self._wait()
        return Written(self._sha.hexdigest(), self._size)

    def _hand_over(self) -> None:
        self._wait()
        data = memoryview(self._blocks[0])[: self._filled]
        self._size += self._filled
        self._under_way = [
            self._threads.submit(self._sha.update, data),
            self._threads.submit(self._put, data),
        ]
        self._blocks.reverse()
        self._filled = 0

    def _wait(self) -> None:
        """Wait until the other buffer is free."""
        futures, self._under_way = self._under_way, []
        try:
            for future in futures:
                future.result()
        except OSError as error:
            self._error = self._error or error
            raise

    def _put(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._handle, data) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._set_direct(False):
                    raise

    def _set_direct(self, wanted: bool) -> bool:
        """Write past the page cache or not; whether that has changed."""
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        if bool(flags & _DIRECT) == wanted or not _DIRECT:
            return False
        try:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags ^ _DIRECT)
        except OSError:  # a file system without it
            return False
        return True


def read_hashed(file: Any, size: int) -> Written:
    """Digest of at most ``size`` bytes from where a binary file stands."""
    sha, block, left = hashlib.sha256(), memoryview(bytearray(_BLOCK)), size
    while left and (count := file.readinto(block[:left])):
        sha.update(block[:count])
        left -= count
    return Written(sha.hexdigest(), size - left)
