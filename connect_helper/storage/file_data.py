"""The bytes of open files: which version they are, and calls that not every system has, each with a second
way. Those block.
"""

from __future__ import annotations

import errno
import os
from typing import Final

Version = tuple[int, ...]
_CHUNK: Final = 4 * 1024 * 1024
_CANNOT: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def version_of(facts: os.stat_result) -> Version:
    """Which version of which file this is. Its change time does not follow the wishes of programs."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def copy_range(source: int, start: int, wanted: int, target: int, at: int) -> int:
    """Copy up to `wanted` bytes of one open file into another; returns how many, 0 at the end of `source`.

    Inside the system where it can (Linux, and not between all disks), else through memory.
    """
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, wanted, start, at)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    data = os.pread(source, min(wanted, _CHUNK), start)
    done = 0
    while done < len(data):
        done += os.pwrite(target, data[done:], at + done)
    return done


def sync_data(handle: int) -> None:
    """Have the disk confirm a file's bytes, and of what is known about it no more than they need."""
    sync = getattr(os, "fdatasync", os.fsync)  # macOS knows the second only
    sync(handle)
