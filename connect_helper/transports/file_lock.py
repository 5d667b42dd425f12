"""Locks that hold between processes of one user: a file each, gone when nobody holds it.

The system lets a lock go when its process dies, whatever way. All functions block.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SUFFIX: Final = ".lock"
_TRIES: Final = 100  # lock files that vanish in front of us before giving up
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class FileLock:
    """One lock, taken and released once. May be used from several threads.

    After `release` it cannot be taken any more: a `take` that a cancelled task left behind in a thread
    gets nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.fspath(path)  # as text: a Path costs more than the calls it is for
        self._mutex = threading.Lock()
        self._handle = -1
        self._over = False

    def take(self) -> bool:
        """Take it; False when somebody else holds it. Raises OSError when there can be no lock file."""
        with self._mutex:
            for _ in range(_TRIES):
                if self._over or self._handle >= 0:
                    break
                found = self._try()
                if found is not None:
                    self._handle = found
                    break
            return self._handle >= 0

    def _try(self) -> int | None:
        """The descriptor that holds the lock, -1 when somebody else does, None when the file went away."""
        handle = self._open()
        try:
            locked = _locked(handle)
            if self._is_named(handle):
                kept, handle = (handle, -1) if locked else (-1, handle)
                return kept
            return None  # released, and so removed, between our opening and locking
        finally:
            if handle >= 0:
                os.close(handle)

    def _open(self) -> int:
        try:
            return os.open(self._path, _FLAGS, 0o600)
        except FileNotFoundError:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._path, _FLAGS, 0o600)

    def release(self) -> None:
        """Let it go, if it is held."""
        with self._mutex:
            self._over = True
            handle, self._handle = self._handle, -1
            if handle < 0:
                return
            try:
                # Before others can lock it: whoever opened this file sees that it has no name any more.
                if os.fstat(handle).st_nlink:  # else somebody removed it, and the name may be another's
                    os.unlink(self._path)  # noqa: PTH108 - see `_path`
            except (FileNotFoundError, PermissionError):
                pass  # Windows removes no open file; the next one takes it as it is
            finally:
                os.close(handle)

    def _is_named(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))  # noqa: PTH116 - see `_path`
        except FileNotFoundError:
            return False


def _locked(handle: int) -> bool:
    """Lock an open file; False when another one has it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
