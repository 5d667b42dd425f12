"""Extended attributes of open files: short notes that follow a file through renames and die with it.

Some disks keep none (some network and memory disks, vfat), nor does macOS as Python sees it.
"""

from __future__ import annotations

import errno
import os


def set_attribute(handle: int, name: str, value: bytes) -> bool:
    """Whether the disk keeps it."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(handle, name, value)
    except OSError:
        return False
    return True


def attribute(handle: int, name: str) -> bytes | None:
    """What the file says; empty where it says nothing, None where no file of this disk can."""
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(handle, name)
    except OSError as error:
        return None if error.errno in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS) else b""
