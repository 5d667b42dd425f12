"""Failures of the disk in the words of SFTP version 3, which has few. Pure."""

from __future__ import annotations

import errno
from typing import Final

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.packets import Data, Status

_CODES: Final = {
    errno.ENOENT: Status.NO_SUCH_FILE,
    errno.ENOTDIR: Status.NO_SUCH_FILE,
    errno.ESTALE: Status.NO_SUCH_FILE,
    errno.EACCES: Status.PERMISSION_DENIED,
    errno.EPERM: Status.PERMISSION_DENIED,
    errno.EROFS: Status.PERMISSION_DENIED,
    errno.ENOTSUP: Status.OP_UNSUPPORTED,
    errno.ENOSYS: Status.OP_UNSUPPORTED,
}


def failure(number: int, error: OSError) -> tuple[Data, ...]:
    """The answer to a request that failed. A plain FAILURE tells its reason in words ("File exists",
    "No space left on device"), as other servers do and clients look for; never a path."""
    code = _CODES.get(error.errno or 0, Status.FAILURE)
    words = "" if code is Status.NO_SUCH_FILE else str(error.strerror or "")
    return packets.status(number, code, words)
