"""Changing files: create, delete, rename (reference, 4.7 to 4.9). All functions block: call them in a thread.

Nothing here ever replaces what exists, and a file gets its name only when it is whole.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from connect_helper.errors import UnsafePath
from connect_helper.server.access import Access, Operation
from connect_helper.server.http.node.bodies import NewPath, OnePath, Renaming
from connect_helper.server.http.node.entries import kind_of
from connect_helper.server.http.node.faults import TAKEN, each, fault, malformed
from connect_helper.server.http.receiving import check_space
from connect_helper.server.publishing import publish
from connect_helper.storage.docpath import DocPath, parse
from connect_helper.storage.docroot import Docroot

_DENIED: Final = "This account may not do that here."
_EMPTYING_TRIES: Final = 3  # others may put files into a folder while it is being removed


def create(
    docroot: Docroot, access: Access, asked: Sequence[NewPath], *, max_bytes: int, keep_free: float
) -> list[dict[str, Any]]:
    """Make folders, small files and links; {"path"} for each, with "error" for those that fail.

    `keep_free` is the part of the disk that stays free, 0 to 1.
    """

    def one(item: NewPath) -> dict[str, Any]:
        path = parse(item.path)
        if not path:
            raise fault(409, TAKEN)
        match item.type:
            case "directory":
                _check(access, Operation.MKDIR, path)
                docroot.mkdir(path)
            case "file":
                _create_file(docroot, access, path, _content(item, max_bytes), keep_free)
            case "symbolic_link":
                _create_link(docroot, access, path, item)
            case _:
                raise malformed("type must be directory, file or symbolic_link.")
        return {}

    return each(asked, lambda item: {"path": item.path}, one)


def _content(item: NewPath, max_bytes: int) -> bytes:
    try:
        content = base64.b64decode("".join((item.contents or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise malformed("contents must be base64.") from None
    if len(content) > max_bytes:
        raise fault(413, f"A file made this way has {max_bytes // 1024} KiB at most.")
    return content


def _create_file(docroot: Docroot, access: Access, path: DocPath, content: bytes, keep_free: float) -> None:
    account = access.account
    if not account.may_write or account.upload == "deny":
        raise fault(403, _DENIED)
    with suppress(FileNotFoundError):
        docroot.lstat(path)
        raise fault(409, TAKEN)
    unfinished = (*path[:-1], b"." + secrets.token_hex(8).encode() + b".partial")
    handle = docroot.open_write(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            if content:
                check_space(handle, len(content), keep_free)
            _write(handle, content)
        finally:
            os.close(handle)
        publish(docroot, unfinished, path, replace=False)
    except BaseException:
        with suppress(OSError):
            docroot.unlink(unfinished)
        raise


def _write(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _create_link(docroot: Docroot, access: Access, path: DocPath, item: NewPath) -> None:
    if item.target is None:
        raise malformed("A symbolic_link needs target.path.")
    _check(access, Operation.LINK, path)
    target = parse(item.target.path)
    # Relative, so that it stays inside wherever the folder lies on the disk.
    docroot.symlink(os.path.relpath(b"/" + b"/".join(target), b"/" + b"/".join(path[:-1])), path)


def delete(docroot: Docroot, access: Access, asked: Sequence[OnePath]) -> list[dict[str, Any]]:
    """Remove files, links and folders, these with all that is in them unless `recursive_delete` is false.

    A link is removed, never what it leads to. {"path"} for each, with "error" for those that fail.
    """

    def one(item: OnePath) -> dict[str, Any]:
        path = parse(item.path)
        _check(access, Operation.DELETE, path)
        if kind_of(docroot.lstat(path)) != "directory":
            docroot.unlink(path)
        elif item.recursive_delete:
            # No link is followed on the way down, whoever puts one there meanwhile.
            with Docroot.open(access.account.docroot, follow_links=False) as strict:
                _remove_tree(strict, path)
        else:
            docroot.rmdir(path)
        return {}

    return each(asked, lambda item: {"path": item.path}, one)


def _remove_tree(docroot: Docroot, top: DocPath) -> None:
    todo = [(top, 0)]
    while todo:
        folder, tries = todo[-1]
        try:
            docroot.rmdir(folder)
            todo.pop()
        except FileNotFoundError:
            todo.pop()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or tries >= _EMPTYING_TRIES:
                raise
            todo[-1] = (folder, tries + 1)
            todo += [(inner, 0) for inner in _emptied(docroot, folder)]


def _emptied(docroot: Docroot, folder: DocPath) -> list[DocPath]:
    """Remove what is no folder; return the folders inside."""
    inner: list[DocPath] = []
    for one in docroot.scandir(folder):
        path = (*folder, one.name)
        if one.is_folder:
            inner.append(path)
        else:
            with suppress(FileNotFoundError):
                docroot.unlink(path)
    return inner


def rename(docroot: Docroot, access: Access, asked: Sequence[Renaming]) -> list[dict[str, Any]]:
    """Rename or move inside a folder; what has the new name already stays (409).

    {"path", "source", "destination"} for each, with "error" for those that fail.
    """

    def one(item: Renaming) -> dict[str, Any]:
        folder = parse(item.path)
        old, new = (*folder, *_inner(item.source)), (*folder, *_inner(item.destination))
        _check(access, Operation.RENAME_FROM, old)
        _check(access, Operation.RENAME_TO, new)
        docroot.rename(old, new, replace=False)
        return {}

    return each(asked, lambda item: item.model_dump(), one)


def _inner(text: str) -> DocPath:
    """A name, or a way down to one: inside the folder it is taken from. Raises Problem 400."""
    try:
        inner = parse(text)
    except UnsafePath as error:
        raise malformed(error.user_message) from error
    if text.startswith("/") or not inner:
        raise malformed("source and destination are names inside path.")
    return inner


def _check(access: Access, operation: Operation, path: DocPath) -> None:
    if not path or not access.allows(operation, path):
        raise fault(403, _DENIED)
