"""The steps of an upload on the disk, each blocking, and where its bytes go."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from connect_helper.server.access import Operation
from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import Problem, already_exists, bad_request, denied, not_found
from connect_helper.server.http.upload_files import open_partial, open_unfinished, remove_partial, split
from connect_helper.server.http.upload_records import Kind, UploadRecord
from connect_helper.server.http.upload_refusals import content_wrong
from connect_helper.server.publishing import publish
from connect_helper.spec.block_hash import Hash
from connect_helper.spec.names import partial_name
from connect_helper.storage.docpath import ROOT, DocPath, parse
from connect_helper.storage.docroot import Docroot

log = logging.getLogger(__name__)

_READ: Final = 2 * 1024 * 1024
_PART: Final = b"part"  # what a part of a file is called that has no name of its own


def check_may_send(caller: Caller) -> None:
    """Raise Problem where the caller may bring nothing at all."""
    if not caller.access.may_send:
        raise denied() if caller.access.token is None else not_found()


def upload_target(
    caller: Caller, name: bytes | None, kind: Kind = "whole", *, from_docroot: bool = False
) -> DocPath:
    """Where an upload leads: `name` below the token's destination, or in full. Raises Problem, UnsafePath.

    A part of a file has no name of its own; without one it is kept in the destination.
    """
    token = caller.access.token
    root = (token.destination_root if token is not None else None) or ROOT
    check_may_send(caller)
    if name is None or not name.strip(b"/"):
        if kind != "partial":
            raise bad_request('The Upload-Metadata header must give the file\'s "path" or "filename".')
        return (*root, _PART) if token is None or not token.destinations else token.destinations[0]
    target = parse(name.lstrip(b"/"), ROOT if from_docroot else root)
    if not caller.access.allows(Operation.CREATE, target):
        raise not_found()
    return target


def prepare_target(caller: Caller, target: DocPath, kind: Kind, *, fresh: bool) -> DocPath:
    """Make missing folders above the target and refuse early what could never be published.

    Returns the target; of a part that was given the name of a folder, a name in that folder: beside a token's
    destination nothing is the token's.
    """
    if len(target) > 1:
        caller.docroot.makedirs(target[:-1])
    with suppress(FileNotFoundError):
        facts = caller.docroot.lstat(target)
        is_folder = stat.S_ISDIR(facts.st_mode)
        if kind == "partial":
            return (*target, _PART) if is_folder else target
        if is_folder:
            raise Problem(403, "is_folder", "A folder stands at that name.")
        if fresh or not caller.access.may_overwrite:
            raise already_exists()
    return target


def partial_beside(target: DocPath, upload_id: str) -> DocPath:
    """Uploads of one name at a time must not share a file, so each has its own."""
    return (*target[:-1], partial_name(target[-1] + b"." + upload_id[:16].encode()))


def feed_piece(digest: Hash, docroot: Docroot, path: DocPath, start: int, length: int) -> None:
    handle = docroot.open_write(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        end = start + length
        while start < end and (data := os.pread(handle, min(_READ, end - start), start)):
            digest.update(data)
            start += len(data)
    finally:
        os.close(handle)


def ready_to_publish(docroot: Docroot, record: UploadRecord) -> UploadRecord:
    """Give a complete file its time; returns the record with its inode, by which it is known under its name
    too. Raises Problem, and OSError: FileNotFoundError where the upload's file is gone.
    """
    if record.length or record.identity is not None:
        handle = open_unfinished(docroot, record, os.O_RDONLY)
    elif (begun := open_partial(docroot, record)) is not None:
        handle, record = begun
    else:
        raise content_wrong()
    try:
        facts = os.fstat(handle)
        if facts.st_size != record.length:
            raise content_wrong()
        if record.mtime_ns is not None:
            os.utime(handle, ns=(record.mtime_ns, record.mtime_ns))
    finally:
        os.close(handle)
    return replace(record, inode=facts.st_ino)


def publish_upload(caller: Caller, record: UploadRecord) -> None:
    target, unfinished = split(record.path), split(record.partial)
    publish(caller.docroot, unfinished, target, replace=caller.access.may_overwrite and not record.fresh)


def published_before(docroot: Docroot, record: UploadRecord) -> bool:
    """Whether the file got its name already, before the program was killed; it is durable then."""
    if record.inode is None:
        return False
    target = split(record.path)
    with suppress(FileNotFoundError, NotADirectoryError):
        docroot.lstat(split(record.partial))
        return False
    try:
        facts = docroot.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(facts.st_mode) or (facts.st_ino, facts.st_size) != (record.inode, record.length):
        return False
    docroot.fsync(target)
    docroot.fsync(target[:-1])
    return True


def sweep_one(open_docroot: Callable[[str], Docroot | None], record: UploadRecord) -> None:
    docroot = open_docroot(record.account)
    if docroot is None:
        return
    with docroot:
        try:
            remove_partial(docroot, record)
        except OSError as error:
            log.warning("an abandoned upload cannot be removed: %s", error.strerror)
