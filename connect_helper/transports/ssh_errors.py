"""Errors of the SSH library become ours, by a table.

Apart from `error_map`, so that the process that answers pages need not load the SSH library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    TargetIsFolder,
    TargetMissing,
    TargetNotFolder,
    TransferError,
    UnsafeName,
    WeakAlgorithms,
)
from connect_helper.transports.error_map import OTHER, Row, Side, as_ours

_LOST: Final[Row] = (ConnectionLost, ConnectionLost)
_DENIED: Final[Row] = (SourceDenied, TargetDenied)
_MISSING: Final[Row] = (SourceMissing, TargetMissing)
_NAME: Final[Row] = (UnsafeName, UnsafeName)
_FULL: Final[Row] = (SourceError, DiskFull)

# Codes: SFTP drafts 02 (version 3) and 13 (version 6); disconnect reasons: RFC 4253 section 11.1.
LIBRARY: Final[Mapping[type[Exception], Row]] = {
    asyncssh.SFTPEOFError: OTHER,
    asyncssh.SFTPNoSuchFile: _MISSING,
    asyncssh.SFTPPermissionDenied: _DENIED,
    asyncssh.SFTPFailure: OTHER,
    asyncssh.SFTPBadMessage: _LOST,
    asyncssh.SFTPNoConnection: _LOST,
    asyncssh.SFTPConnectionLost: _LOST,
    asyncssh.SFTPOpUnsupported: OTHER,
    asyncssh.SFTPInvalidHandle: OTHER,
    asyncssh.SFTPNoSuchPath: _MISSING,
    asyncssh.SFTPFileAlreadyExists: (SourceError, AlreadyExists),
    asyncssh.SFTPWriteProtect: _DENIED,
    asyncssh.SFTPNoMedia: OTHER,
    asyncssh.SFTPNoSpaceOnFilesystem: _FULL,
    asyncssh.SFTPQuotaExceeded: _FULL,
    asyncssh.SFTPUnknownPrincipal: OTHER,
    asyncssh.SFTPLockConflict: OTHER,
    asyncssh.SFTPDirNotEmpty: (SourceError, TargetIsFolder),
    asyncssh.SFTPNotADirectory: (SourceMissing, TargetNotFolder),
    asyncssh.SFTPInvalidFilename: _NAME,
    asyncssh.SFTPLinkLoop: (LinkSkipped, TargetNotFolder),
    asyncssh.SFTPCannotDelete: _DENIED,
    asyncssh.SFTPInvalidParameter: OTHER,
    asyncssh.SFTPFileIsADirectory: (SourceError, TargetIsFolder),
    asyncssh.SFTPByteRangeLockConflict: OTHER,
    asyncssh.SFTPByteRangeLockRefused: OTHER,
    asyncssh.SFTPDeletePending: OTHER,
    asyncssh.SFTPFileCorrupt: OTHER,
    asyncssh.SFTPOwnerInvalid: OTHER,
    asyncssh.SFTPGroupInvalid: OTHER,
    asyncssh.SFTPNoMatchingByteRangeLock: OTHER,
    asyncssh.SFTPError: OTHER,  # a code nobody knows
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


def remote_error(error: Exception, side: Side, name: str | bytes) -> TransferError:
    """Our error for an operation on the server that the SSH library reports as failed.

    An OSError here comes from the socket, so it means a broken connection.
    """
    row = next((LIBRARY[kind] for kind in type(error).__mro__ if kind in LIBRARY), _LOST)
    return as_ours(row, side, name, f"{type(error).__name__}: {error}")
