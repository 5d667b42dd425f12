"""What stays free on the volumes of this machine, and the error that names a full one (REL-10)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connect_helper.errors import DiskFull
from connect_helper.spec.names import display

MIB: Final = 1024 * 1024
LEAST: Final = 500 * MIB  # bytes, or
PART: Final = 100  # of a volume, one in so many, whichever is more
SMALL_PART: Final = 4  # but never more than one in so many: a memory stick can still be filled

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Spare:
    """What downloads leave free on a volume: `fixed` bytes; None: by the rule above."""

    fixed: int | None = None

    def of(self, volume: os.statvfs_result) -> int:
        """Bytes of that volume that are not for us."""
        if self.fixed is not None:
            return self.fixed
        whole = volume.f_blocks * volume.f_frsize
        return min(max(LEAST, whole // PART), whole // SMALL_PART)


BY_RULE: Final = Spare()


def check_space(handle: int, folder: bytes, amount: int, spare: Spare, *, missing: int = 0) -> int:
    """Raise DiskFull when `amount` more bytes on the volume of the open `handle` would leave too little.

    Returns for how many bytes there is room after these. For the message: `folder` is its path, `missing`
    what is needed where that is more than `amount`.
    """
    volume = os.fstatvfs(handle)
    free, kept = volume.f_bavail * volume.f_frsize, spare.of(volume)
    if free - amount < kept:
        raise disk_full(folder, max(amount, missing), free, kept=kept)
    return free - amount - kept


def is_full(error: OSError) -> bool:
    """Tell whether an error says that no more bytes fit: the volume, a quota, or a size limit."""
    return error.errno in _FULL


def disk_full(
    folder: bytes, needed: int, free: int, *, kept: int = 0, reason: OSError | None = None
) -> DiskFull:
    """The error that names the volume of `folder`, and in bytes what is needed, free, and kept free."""
    volume = _volume(folder)
    if reason is not None and reason.errno != errno.ENOSPC:
        words = f"A quota or size limit of the disk {display(volume)} is reached"
        words += f": {needed:,} bytes are needed" if needed else ""
    else:
        words = f"The disk {display(volume)} is full: {needed:,} bytes are needed, {free:,} are free"
        words += f", of which {kept:,} stay free for other programs" if kept else ""
    return DiskFull(f"{words}. Make room there and start again.", internal_message=f"{words} ({reason})")


def _volume(folder: bytes) -> bytes:
    """The place the file system that holds `folder` is mounted at."""
    path = Path(os.fsdecode(folder))
    try:
        while not os.path.ismount(path) and path.parent != path:
            path = path.parent
    except OSError:
        return folder
    return os.fsencode(path)
