"""What uploads leave free on the disk. For all threads.

It is looked at now and then, after so many bytes, whoever wrote them: a thousand files that are open at once
must not each go on by itself.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Final

from connect_helper.server.sftp.files import OpenFile, errno_error

LOOK_EVERY: Final = 64 * 1024 * 1024  # bytes written by all sessions between two looks


class FreeSpace:
    """Of the whole server. `keep` is the part of a disk that stays free, 0 to 1."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._written = 0  # bytes
        self._lock = threading.Lock()

    def check(self, handle: int) -> None:
        """Raise OSError ENOSPC while there is still room for everybody else (REL-10)."""
        if self._keep:
            space = os.fstatvfs(handle)
            if space.f_bavail < space.f_blocks * self._keep:
                raise errno_error(errno.ENOSPC)

    def check_for(self, file: OpenFile, size: int) -> None:
        """`check` before `size` bytes are written, at the file's first ones and if much was written since."""
        with self._lock:
            written = self._written
            self._written += size
        if file.looked_at is None or written - file.looked_at >= LOOK_EVERY:
            self.check(file.handle)
            file.looked_at = written
