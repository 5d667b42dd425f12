"""The unfinished file of an upload: only ever the one that the upload itself made.

Its name can be guessed from the upload's address, and who may make links, or rename, can have it lead to any
other file. So it is made fresh, no link is followed to it, and each time it is opened it must be known again:
by an extended attribute that no client can set, or by its inode and time of birth. Some disks keep no
attributes and give a file another inode now and then; then the time of birth must do, if there is one.
Without that somebody else's file may be taken for it by whom the account lets rename, and so remove, it.

All functions block.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from typing import Final

from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.storage.attributes import attribute, set_attribute
from connect_helper.storage.docpath import ROOT, DocPath
from connect_helper.storage.docroot import Docroot
from connect_helper.storage.kernel import Identity, identity_of

_ATTRIBUTE: Final = "user.connect-helper.upload"


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
        if record.identity in (None, _noted(docroot.identity(path))) or _has_name(docroot, record):
            docroot.unlink(path)


def _has_name(docroot: Docroot, record: UploadRecord) -> bool:
    """Whether the name is still that of the upload's own file."""
    try:
        os.close(open_unfinished(docroot, record, os.O_RDONLY))
    except OSError:
        return False
    return True


def _begun(docroot: Docroot, record: UploadRecord) -> tuple[int, UploadRecord]:
    """Make the file. What has its name was left behind by a server that was killed, or put there to be
    written to: the name is taken off it, and no byte of it is touched."""
    path = split(record.partial)
    remove_partial(docroot, replace(record, identity=None))
    handle = docroot.open_write(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    set_attribute(handle, _ATTRIBUTE, _mark(record))
    return handle, replace(record, identity=_noted(identity_of(handle)))


def _mark(record: UploadRecord) -> bytes:
    """What the file says of itself: not the id, by which the upload is addressed."""
    first = record.parts[0] if record.kind == "final" else record.id  # the whole is its first part's file
    return hashlib.sha256(first.encode()).hexdigest().encode()


def _is_ours(handle: int, record: UploadRecord) -> bool:
    mark, identity = attribute(handle, _ATTRIBUTE), identity_of(handle)
    if mark:
        return mark == _mark(record)
    if record.identity is not None:
        if _noted(identity) == record.identity:
            return True
        # A file of ours would say so, if any could.
        if mark is not None or record.identity.partition(":")[2] != _born(identity):
            return False
    # On such a disk, or begun by an older version, which noted no more than that there are bytes.
    facts = os.fstat(handle)
    return 0 < record.offset <= facts.st_size and facts.st_nlink == 1 and facts.st_uid == os.geteuid()


def _noted(identity: Identity) -> str:
    """Inode and time of birth. The device's number may be another one after the machine was started anew."""
    return f"{identity[1]}:{_born(identity)}"


def _born(identity: Identity) -> str:
    return str(identity[2])
