"""Lists what is below a folder of the server, as a stream.

Names are data of a stranger (SEC-17): each goes through `safe_component`, and one that fails is an entry
with an error while the rest goes on. The order is that of the server, folders before their content.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from connect_helper.errors import (
    LinkSkipped,
    SourceError,
    SourceMissing,
    SpecialFile,
    TransferError,
    UnsafeName,
)
from connect_helper.spec.names import display, safe_component
from connect_helper.spec.words import Links
from connect_helper.transports.base import NOT_SEEN, Enters, Entry, Facts, Kind
from connect_helper.transports.sftp_answers import Attrs, Name

DEPTH_LIMIT: Final = 100
ENTRY_LIMIT: Final = 10_000_000  # below one source; a server that makes them up never ends
WAITING_LIMIT: Final = 128 * 1024 * 1024  # bytes of memory for folders not yet listed
_FOLDER_COST: Final = 300  # bytes of memory for one beside its names


class RealPaths(Protocol):
    """Who resolves links; errors are ours already."""

    async def real_path(self, path: bytes) -> bytes: ...


class Lister(RealPaths, Protocol):
    """What a scan asks of the server."""

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None: ...

    async def read_link(self, path: bytes) -> bytes: ...

    def list_folder(self, path: bytes) -> AsyncIterator[Name]: ...


def facts_of(attrs: Attrs) -> Facts:
    """Facts from SFTP attributes; version 3 tells the kind by the mode only."""
    kind: Kind = "special"
    mode = attrs.permissions or 0
    if stat.S_IFMT(mode):
        kind = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "special"
        kind = "link" if stat.S_ISLNK(mode) else kind
    times = (attrs.mtime or 0) * 1_000_000_000, (attrs.atime or 0) * 1_000_000_000
    return Facts(kind, attrs.size or 0, *times)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: bytes
    below: tuple[bytes, ...]
    facts: Facts
    real: bytes  # path with links below the source resolved
    inside: tuple[bytes, ...]  # real paths of followed links above it: meeting one again is a loop


class _Waiting:
    """The folders still to list, last in first out, in bounded memory."""

    def __init__(self, top: _Folder) -> None:
        self._source = top.path
        self._folders = [top]
        self._cost = _cost(top)

    def __bool__(self) -> bool:
        return bool(self._folders)

    def append(self, folder: _Folder) -> None:
        """Raises SourceError when there are too many."""
        self._cost += _cost(folder)
        if self._cost > WAITING_LIMIT:
            raise _endless(self._source)
        self._folders.append(folder)

    def pop(self) -> _Folder:
        folder = self._folders.pop()
        self._cost -= _cost(folder)
        return folder


def _cost(folder: _Folder) -> int:
    """About how many bytes of memory it takes; `below` and `inside` share theirs with the folders above."""
    links = len(folder.inside[-1]) if folder.inside else 0
    links += len(folder.real) if folder.real is not folder.path else 0
    return _FOLDER_COST + len(folder.path) + 16 * len(folder.below) + links


def _endless(source: bytes) -> SourceError:
    return SourceError(
        f"{display(source)} holds more files and folders than can be fetched at once, or the server makes"
        " them up. Choose folders inside it, and fetch them one after another."
    )


@dataclass(frozen=True, slots=True)
class _Options:
    links: Links
    enters: Enters


async def scan(lister: Lister, source: bytes, *, links: Links, enters: Enters) -> AsyncGenerator[Entry, None]:
    """See `Transport.scan`. `source` itself may be a link, treated like any other."""
    if links != "follow":
        facts = await lister.facts(source)
        if facts is not None and facts.kind == "link":
            real = await real_entry(lister, source)
            yield await _unfollowed(lister, source, (), facts, links, real)
            return
    looks = lister.facts(source, follow=True), lister.real_path(source)
    found, root = await asyncio.gather(*looks, return_exceptions=True)
    if isinstance(found, BaseException):
        raise found
    facts = found
    if facts is None:
        raise SourceMissing(f"{display(source)} is not on the server.")
    if facts.kind != "folder":
        error = None if facts.kind == "file" else _special(source)
        yield Entry(source, (), facts, error, real=root if isinstance(root, bytes) else b"")
        return
    if isinstance(root, BaseException):
        raise root
    options = _Options(links, enters)
    folders = _Waiting(_Folder(source, (), facts, root, ()))
    entries = 0
    while folders:
        async for one in _content(lister, folders.pop(), root, options):
            entries += 1
            if entries > ENTRY_LIMIT:
                raise _endless(source)
            if isinstance(one, _Folder):
                if enters(one.below):
                    folders.append(one)
            else:
                yield one


async def _content(
    lister: Lister, folder: _Folder, root: bytes, options: _Options
) -> AsyncGenerator[Entry | _Folder, None]:
    """The folder itself, then its entries but for folders, which come back as `_Folder` to visit."""
    facts = folder.facts
    if len(folder.below) > DEPTH_LIMIT:
        error = UnsafeName(f"{display(folder.path)} lies more than {DEPTH_LIMIT} folders deep.")
        yield Entry(folder.path, folder.below, facts, error, real=folder.real)
        return
    try:
        yield Entry(folder.path, folder.below, facts, real=folder.real)
        async for name in lister.list_folder(folder.path):
            raw = name.filename
            if raw in (b".", b".."):
                continue
            yield await _entry(lister, folder, raw, name.attrs, root, options)
    except TransferError as error:
        if error.retryable:
            raise
        yield Entry(folder.path, folder.below, facts, error, real=folder.real)


async def _entry(
    lister: Lister,
    folder: _Folder,
    raw: bytes,
    attrs: Attrs,
    root: bytes,
    options: _Options,
) -> Entry | _Folder:
    try:
        name = safe_component(raw)
    except UnsafeName as error:
        return Entry(folder.path + b"/" + raw, folder.below, facts_of(attrs), error)
    path, below = folder.path.rstrip(b"/") + b"/" + name, (*folder.below, name)
    found: Facts | None = facts_of(attrs)
    inside = folder.inside
    real = path if folder.real == folder.path else folder.real.rstrip(b"/") + b"/" + name  # one in memory
    try:
        if attrs.permissions is None:  # a server that lists names only
            found = await lister.facts(path)
        if found is not None and found.kind == "link":
            if options.links != "follow":
                return await _unfollowed(lister, path, below, found, options.links, real)
            real, found = await _follow(lister, path, root, inside)
            inside = (*inside, real)
    except TransferError as error:
        if error.retryable:
            raise
        return Entry(path, below, Facts("link", 0, 0), error)
    if found is None:
        gone = SourceMissing(f"{display(path)} is not there any more.")
        return Entry(path, below, NOT_SEEN, gone)
    if found.kind == "folder":
        return _Folder(path, below, found, real, inside)
    return Entry(path, below, found, None if found.kind == "file" else _special(path), real=real)


async def real_entry(paths: RealPaths, path: bytes) -> bytes:
    """The real path of a name that may be a link, and is not followed itself."""
    asked, name = entry_parts(path)
    return entry_path(await paths.real_path(asked), name)


def entry_parts(path: bytes) -> tuple[bytes, bytes]:
    """The folder that `real_entry` asks about, and the name in it; b"" where it asks about all of `path`."""
    folder, slash, name = path.rpartition(b"/")
    return (path, b"") if name in (b"", b".", b"..") else (folder + slash or b".", name)


def entry_path(real: bytes, name: bytes) -> bytes:
    """What `real_entry` returns, given the real path of what was asked."""
    return real.rstrip(b"/") + b"/" + name if name else real


async def _unfollowed(
    lister: Lister, path: bytes, below: tuple[bytes, ...], facts: Facts, links: Links, real: bytes
) -> Entry:
    """The entry of a link that is copied or skipped."""
    if links == "skip":
        return Entry(path, below, facts, LinkSkipped(f"{display(path)} is a link; links are left out."))
    return Entry(path, below, facts, None, await lister.read_link(path), real)


async def _follow(lister: Lister, path: bytes, root: bytes, inside: tuple[bytes, ...]) -> tuple[bytes, Facts]:
    """The real path of a link that may be followed, and what is there: it stays in the scanned folder, is no
    loop, and leads somewhere.
    """
    try:
        real = await lister.real_path(path)
    except SourceMissing as error:
        raise _leads_nowhere(path) from error
    if not real.startswith(root.rstrip(b"/") + b"/"):
        raise LinkSkipped(f"{display(path)} is a link that leads out of the folder; it was left out.")
    parent = await lister.real_path(path.rpartition(b"/")[0])
    if real in inside or (parent + b"/").startswith(real + b"/"):
        raise LinkSkipped(f"{display(path)} is a link that leads back to a folder above it.")
    found = await lister.facts(path, follow=True)
    if found is None:
        raise _leads_nowhere(path)
    return real, found


def _leads_nowhere(path: bytes) -> LinkSkipped:
    return LinkSkipped(f"{display(path)} is a link that leads nowhere.")


def _special(path: bytes) -> SpecialFile:
    return SpecialFile(f"{display(path)} is no regular file (a device, pipe or socket).")
