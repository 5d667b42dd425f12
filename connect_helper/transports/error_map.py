"""Foreign errors become ours, by two tables: errno of this machine, error classes of the SSH library.

Each row has a word for both sides of a transfer, since "no such file" means something else for a source
than for a target. Names in the sentences are escaped for showing.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final, Literal

import asyncssh

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
_Row = tuple[type[TransferError], type[TransferError]]  # as a source, as a target

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

_ERRNO: Final[Mapping[int, _Row]] = {
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

_OTHER: Final[_Row] = (SourceError, TargetError)
_LOST: Final[_Row] = (ConnectionLost, ConnectionLost)
_DENIED: Final[_Row] = (SourceDenied, TargetDenied)
_MISSING: Final[_Row] = (SourceMissing, TargetMissing)
_NAME: Final[_Row] = (UnsafeName, UnsafeName)
_FULL: Final[_Row] = (SourceError, DiskFull)

# Codes: SFTP drafts 02 (version 3) and 13 (version 6); disconnect reasons: RFC 4253 section 11.1.
LIBRARY: Final[Mapping[type[Exception], _Row]] = {
    asyncssh.SFTPEOFError: _OTHER,
    asyncssh.SFTPNoSuchFile: _MISSING,
    asyncssh.SFTPPermissionDenied: _DENIED,
    asyncssh.SFTPFailure: _OTHER,
    asyncssh.SFTPBadMessage: _LOST,
    asyncssh.SFTPNoConnection: _LOST,
    asyncssh.SFTPConnectionLost: _LOST,
    asyncssh.SFTPOpUnsupported: _OTHER,
    asyncssh.SFTPInvalidHandle: _OTHER,
    asyncssh.SFTPNoSuchPath: _MISSING,
    asyncssh.SFTPFileAlreadyExists: (SourceError, AlreadyExists),
    asyncssh.SFTPWriteProtect: _DENIED,
    asyncssh.SFTPNoMedia: _OTHER,
    asyncssh.SFTPNoSpaceOnFilesystem: _FULL,
    asyncssh.SFTPQuotaExceeded: _FULL,
    asyncssh.SFTPUnknownPrincipal: _OTHER,
    asyncssh.SFTPLockConflict: _OTHER,
    asyncssh.SFTPDirNotEmpty: (SourceError, TargetIsFolder),
    asyncssh.SFTPNotADirectory: (SourceMissing, TargetNotFolder),
    asyncssh.SFTPInvalidFilename: _NAME,
    asyncssh.SFTPLinkLoop: (LinkSkipped, TargetNotFolder),
    asyncssh.SFTPCannotDelete: _DENIED,
    asyncssh.SFTPInvalidParameter: _OTHER,
    asyncssh.SFTPFileIsADirectory: (SourceError, TargetIsFolder),
    asyncssh.SFTPByteRangeLockConflict: _OTHER,
    asyncssh.SFTPByteRangeLockRefused: _OTHER,
    asyncssh.SFTPDeletePending: _OTHER,
    asyncssh.SFTPFileCorrupt: _OTHER,
    asyncssh.SFTPOwnerInvalid: _OTHER,
    asyncssh.SFTPGroupInvalid: _OTHER,
    asyncssh.SFTPNoMatchingByteRangeLock: _OTHER,
    asyncssh.SFTPError: _OTHER,  # a code nobody knows
    asyncssh.HostKeyNotVerifiable: (HostKeyUnknown, HostKeyUnknown),
    asyncssh.PermissionDenied: (AuthFailed, AuthFailed),
    asyncssh.KeyExchangeFailed: (WeakAlgorithms, WeakAlgorithms),
    asyncssh.ConnectionLost: _LOST,
    asyncssh.CompressionError: _LOST,
    asyncssh.IllegalUserName: (AuthFailed, AuthFailed),
    asyncssh.MACError: _LOST,
    asyncssh.ProtocolError: _LOST,
    asyncssh.ProtocolNotSupported: _LOST,
    asyncssh.ServiceNotAvailable: _LOST,
    asyncssh.DisconnectError: _LOST,
    asyncssh.ChannelOpenError: _LOST,
}


def local_error(error: OSError, side: Side, name: str | bytes) -> TransferError:
    """Our error for an operation on a file of this machine; `name` is what a person calls it."""
    row = _ERRNO.get(error.errno or 0, _OTHER)
    return _made(row, side, name, f"{errno.errorcode.get(error.errno or 0, error.errno)} {error.strerror}")


def remote_error(error: Exception, side: Side, name: str | bytes) -> TransferError:
    """Our error for an operation on the server that the SSH library reports as failed.

    An OSError here comes from the socket, so it means a broken connection.
    """
    row = next((LIBRARY[kind] for kind in type(error).__mro__ if kind in LIBRARY), _LOST)
    return _made(row, side, name, f"{type(error).__name__}: {error}")


def _made(row: _Row, side: Side, name: str | bytes, detail: str) -> TransferError:
    kind = row[0] if side == "source" else row[1]
    return kind(
        _SENTENCES[kind].format(name=display(name)), internal_message=f"{side} {display(name)}: {detail}"
    )
