"""The unfinished file of an upload: only ever the one that the upload itself made.

Its name can be guessed from the upload's address, and who may make links, or rename, can have it lead to any
other file. So it is made fresh, no link is followed to it, and which file it was is noted and compared each
time it is opened. All functions block.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace

from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.storage.docpath import ROOT, DocPath
from connect_helper.storage.docroot import Docroot
from connect_helper.storage.kernel import Identity, identity_of


def joined(path: DocPath) -> bytes:
    return b"/".join(path)


def split(stored: bytes) -> DocPath:
    return tuple(stored.split(b"/")) if stored else ROOT


def open_partial(docroot: Docroot, record: UploadRecord) -> tuple[int, UploadRecord] | None:
    """Open an upload's file, made if there is none yet, and cut it to the upload's offset.

    Returns the descriptor, and the record with which file it is. None where bytes that were counted are
    gone: the file is shorter than that, or another one. Raises OSError.
    """
    try:
        handle = open_unfinished(docroot, record, os.O_RDWR)
    except FileNotFoundError:
        return None if record.offset else _begun(docroot, record)
    size = os.fstat(handle).st_size
    if size < record.offset:
        os.close(handle)
        return None
    if size > record.offset:
        os.ftruncate(handle, record.offset)
    return handle, replace(record, identity=_noted(identity_of(handle)))


def open_unfinished(docroot: Docroot, record: UploadRecord, flags: int) -> int:
    """Open the file that an upload has begun; `flags` are those of os.open about access.

    Raises OSError, FileNotFoundError also where another file has the name by now.
    """
    handle = docroot.open_write(split(record.partial), flags | os.O_NOFOLLOW)
    if _is_ours(handle, record):
        return handle
    os.close(handle)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def as_left(docroot: Docroot, record: UploadRecord) -> UploadRecord:
    """The record with no more bytes counted than the upload's file has; none where that is gone."""
    try:
        handle = open_unfinished(docroot, record, os.O_RDONLY)
    except FileNotFoundError:
        size = 0
    else:
        try:
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
    return replace(record, offset=min(size, record.offset), synced=min(size, record.synced))


def remove_partial(docroot: Docroot, record: UploadRecord) -> None:
    """Remove the file of an upload that is not done; another file of that name stays."""
    if record.done:
        return
    path = split(record.partial)
    with suppress(FileNotFoundError, NotADirectoryError):
        if record.identity in (None, _noted(docroot.identity(path))):
            docroot.unlink(path)


def _begun(docroot: Docroot, record: UploadRecord) -> tuple[int, UploadRecord]:
    """Make the file. What has its name was left behind by a server that was killed, or put there to be
    written to: the name is taken off it, and no byte of it is touched."""
    path = split(record.partial)
    remove_partial(docroot, replace(record, identity=None))
    handle = docroot.open_write(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    return handle, replace(record, identity=_noted(identity_of(handle)))


def _is_ours(handle: int, record: UploadRecord) -> bool:
    if record.identity is not None:
        return _noted(identity_of(handle)) == record.identity
    # Begun by an older version of this program, which noted no more than that there are bytes.
    return record.offset > 0 and os.fstat(handle).st_nlink == 1


def _noted(identity: Identity) -> str:
    """Inode and time of birth. The device's number may be another one after the machine was started anew."""
    _device, inode, born_ns = identity
    return f"{inode}:{born_ns}"
