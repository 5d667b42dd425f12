"""Locks that hold between processes of one user, all in one file: a byte each, found by the lock's name.

The system lets them go when their process dies, whatever way. A file for each lock, made and removed again,
costs far more: ext4 gives the place of a removed file to no other one for a minute or longer, and looks past
all of these whenever a file is made. Linux only, and not everywhere there (see `are_known`). All functions
block.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Final

if sys.platform == "linux":
    import fcntl

_TRIES: Final = 100  # files that vanish in front of us before giving up
_PLACE: Final = 7  # bytes of a digest; an offset has 63 bits
_OFD_SETLK: Final = 37  # F_OFD_SETLK of Linux, which a Python built with older headers does not name
_FLOCK: Final = "hhqqi0q"  # struct flock: type, whence, start, length, process


@functools.cache
def are_known(folder: str) -> bool:
    """Tell whether a folder, which is made, takes locks of bytes that belong to who opened the file.

    Linux has them since 3.15; WSL 1, some sandboxes that pass for Linux and some file systems have not.
    Raises OSError when nothing can be written there.
    """
    if sys.platform != "linux":
        return False
    Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            return _change(file.fileno(), 0, fcntl.F_WRLCK)
        except OSError:
            return False


class LockFile:
    """The file that the locks are in; open while any of them is held. Safe to use from several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._handle = -1
        self._held: dict[int, int] = {}  # place -> descriptor it is locked through
        self._uses: Counter[int] = Counter()  # descriptor -> places

    def lock(self, name: str) -> ByteLock:
        """The lock of that name."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_PLACE).digest()
        return ByteLock(self, int.from_bytes(digest, "big"))

    def take(self, place: int) -> bool:
        """Lock a place; False when anybody has it. Raises OSError when there can be no lock."""
        with self._mutex:
            for _ in range(_TRIES):
                if place in self._held:  # asked again, the system would say yes
                    return False
                if self._handle < 0:
                    self._handle = self._open()
                try:
                    locked = _change(self._handle, place, fcntl.F_WRLCK)
                except BaseException:
                    self._close_unused(self._handle)
                    raise
                if self._is_named(self._handle):
                    if locked:
                        self._held[place] = self._handle
                        self._uses[self._handle] += 1
                    self._close_unused(self._handle)
                    return locked
                # Somebody removed it, or moved it away: others lock another file by now.
                gone, self._handle = self._handle, -1
                self._close_unused(gone)
            return False

    def release(self, place: int) -> None:
        """Let go of a place that was locked."""
        with self._mutex:
            handle = self._held.pop(place)
            self._uses[handle] -= 1
            if self._uses[handle]:
                _change(handle, place, fcntl.F_UNLCK)
            self._close_unused(handle)

    def _is_named(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))  # noqa: PTH116 - as in `file_lock`
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._path, flags, 0o600)

    def _close_unused(self, handle: int) -> None:
        """Close a descriptor through which nothing is locked: all its locks go with it."""
        if self._uses[handle]:
            return
        del self._uses[handle]
        if handle == self._handle:
            self._handle = -1
        os.close(handle)


class ByteLock:
    """One lock, taken and released once. May be used from several threads.

    After `release` it cannot be taken any more: a `take` that a cancelled task left behind in a thread
    gets nothing.
    """

    def __init__(self, file: LockFile, place: int) -> None:
        self._file = file
        self._place = place
        self._mutex = threading.Lock()
        self._taken = False
        self._over = False

    def take(self) -> bool:
        """Take it; False when somebody else holds it. Raises OSError when there can be no lock."""
        with self._mutex:
            if not self._taken and not self._over:
                self._taken = self._file.take(self._place)
            return self._taken

    def release(self) -> None:
        """Let it go, if it is held."""
        with self._mutex:
            self._over = True
            if self._taken:
                self._taken = False
                self._file.release(self._place)


def _change(handle: int, place: int, kind: int) -> bool:
    """Lock or unlock one byte of an open file, which need not be there; False when another one has it."""
    try:
        fcntl.fcntl(handle, _OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, place, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True
