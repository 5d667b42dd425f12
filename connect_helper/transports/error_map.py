"""Errors of this machine become ours, by a table; those of the SSH library in `ssh_errors`.

Each row has a word for both sides of a transfer, since "no such file" means something else for a source
than for a target. Names in the sentences are escaped for showing.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final, Literal

from connect_helper.errors import (
    AlreadyExists,
    AuthFailed,
    ConnectionLost,
    DiskFull,
    HostKeyUnknown,
    LinkSkipped,
    SourceDenied,
    SourceError,
    SourceMissing,
    TargetDenied,
    TargetError,
    TargetIsFolder,
    TargetMissing,
    TargetNotFolder,
    TransferError,
    UnsafeName,
    WeakAlgorithms,
)
from connect_helper.spec.names import display

Side = Literal["source", "target"]
Row = tuple[type[TransferError], type[TransferError]]  # as a source, as a target

_SENTENCES: Final[Mapping[type[TransferError], str]] = {
    SourceMissing: "{name} is not there any more; choose it again.",
    SourceDenied: "There is no permission to read {name}.",
    LinkSkipped: "{name} is a link that is not followed.",
    SourceError: "{name} cannot be read.",
    TargetMissing: "The folder for {name} is gone; choose another one.",
    TargetDenied: "There is no permission to write {name}; choose another folder.",
    TargetIsFolder: "{name} cannot be written: a folder of that name is in the way.",
    TargetNotFolder: "{name} cannot be written: something that is no folder is in the way.",
    DiskFull: "There is no space left for {name}; make room and start again.",
    UnsafeName: "The name {name} cannot be used there; rename it at the source.",
    AlreadyExists: "{name} exists already.",
    TargetError: "{name} cannot be written.",
    ConnectionLost: "The connection to the server broke; start the transfer again to go on.",
    AuthFailed: "The server refused the login; check the user name and password, key or token.",
    HostKeyUnknown: "The key of the server is not accepted.",
    WeakAlgorithms: "The server offers no encryption this program accepts; it needs a newer SSH server.",
}

_ERRNO: Final[Mapping[int, Row]] = {
    errno.ENOENT: (SourceMissing, TargetMissing),
    errno.ESTALE: (SourceMissing, TargetMissing),
    errno.EACCES: (SourceDenied, TargetDenied),
    errno.EPERM: (SourceDenied, TargetDenied),
    errno.EROFS: (SourceError, TargetDenied),
    errno.ELOOP: (LinkSkipped, TargetNotFolder),
    errno.EXDEV: (LinkSkipped, TargetError),
    errno.ENOTDIR: (SourceMissing, TargetNotFolder),
    errno.EISDIR: (SourceError, TargetIsFolder),
    errno.EEXIST: (SourceError, AlreadyExists),
    errno.ENOTEMPTY: (SourceError, TargetIsFolder),
    errno.ENAMETOOLONG: (UnsafeName, UnsafeName),
    errno.EILSEQ: (UnsafeName, UnsafeName),
    errno.EINVAL: (SourceError, UnsafeName),
    errno.ENOSPC: (SourceError, DiskFull),
    errno.EDQUOT: (SourceError, DiskFull),
    errno.EFBIG: (SourceError, DiskFull),
}

OTHER: Final[Row] = (SourceError, TargetError)


def local_error(error: OSError, side: Side, name: str | bytes) -> TransferError:
    """Our error for an operation on a file of this machine; `name` is what a person calls it."""
    row = _ERRNO.get(error.errno or 0, OTHER)
    return as_ours(row, side, name, f"{errno.errorcode.get(error.errno or 0, error.errno)} {error.strerror}")


def as_ours(row: Row, side: Side, name: str | bytes, detail: str) -> TransferError:
    """The error of a row, with its sentence; `detail` is for the log."""
    kind = row[0] if side == "source" else row[1]
    return kind(
        _SENTENCES[kind].format(name=display(name)), internal_message=f"{side} {display(name)}: {detail}"
    )
