"""Reading granted files for a page: content, pieces and checksums (Connect reference 5.3).

A file is read block by block as the page takes the answer, so neither a large file nor a page that does
not read its answers costs memory, and a page that goes away ends its reading.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from connect_helper.api.disk_threads import DiskThreads
from connect_helper.api.places import Places
from connect_helper.api.turns import Turns
from connect_helper.api.walking import ENTRIES, LOOKED_AT, TOO_MUCH, FolderEntry, Kind, Wanted, list_folder
from connect_helper.consent.origins import Scope
from connect_helper.errors import InvalidRequest, SourceError, TooLarge
from connect_helper.transports.local_files import Granted, SourceFile, open_source

READ_LIMIT: Final = 50 * 1024 * 1024  # bytes of a file or chunk
CHECKSUMS: Final = ("md5", "sha1", "sha256", "sha512")
BLOCK: Final = 192 * 1024  # bytes; divides by 3, so base64 of blocks joins up without padding between
_IN_ONE_GO: Final = 1_000  # entries of a folder
_DIGEST_BLOCK: Final = 1024 * 1024


class _Opened:
    """A file that is opened, read and closed by threads, in whatever order they come to it."""

    def __init__(self, granted: Granted, below: tuple[bytes, ...]) -> None:
        self._granted = granted
        self._below = below
        self._using = threading.Lock()  # a descriptor closed under a read may by then be another file's
        self._file: SourceFile | None = None
        self._over = False

    def size(self) -> int:
        """Open it; bytes."""
        with self._using:
            if self._over:
                return 0  # the caller is gone, and so nobody would close it
            self._file = open_source(self._granted, self._below)
            return self._file.size

    def read(self, offset: int, length: int) -> bytes:
        with self._using:
            return self._file.read(offset, length) if self._file else b""

    def check(self) -> None:
        with self._using:
            if self._file:
                self._file.check()

    def close(self) -> None:
        with self._using:
            self._over = True
            if self._file:
                self._file.close()
                self._file = None


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of a file, opened and about to be read; valid inside `Reading.content` only."""

    type: str  # MIME type by file name
    length: int  # bytes
    _offset: int
    _file: _Opened
    _threads: DiskThreads

    async def blocks(self, size: int = BLOCK) -> AsyncGenerator[bytes, None]:
        """The bytes in blocks of `size`, the last one shorter; `length` in sum.

        Raises SourceChanged when the file got shorter, SourceDenied, SourceError.
        """
        end = self._offset + self.length
        for start in range(self._offset, end, size):
            yield await self._threads.run(partial(self._file.read, start, min(size, end - start)))


class Reading:
    """Reads below grants only; every file is opened as the granted object, not by what its name means now."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._threads = DiskThreads()
        self._turns = Turns()

    @asynccontextmanager
    async def content(
        self, scope: Scope, path: str, offset: int = 0, size: int | None = None
    ) -> AsyncIterator[Content]:
        """Up to `size` bytes from `offset`, fewer or none past the end; without a size the whole file.

        It keeps one of the page's turns until it is left. Raises NotGranted, SourceMissing, SourceDenied,
        SourceChanged, LinkSkipped, SpecialFile, TooLarge above 50 MiB, TooManyRequests.
        """
        if size is not None and size > READ_LIMIT:
            raise TooLarge(f"chunkSize is above {READ_LIMIT} bytes.")
        async with self._open(scope, path) as (file, name):
            file_size = await self._threads.run(file.size)
            if size is None and file_size > READ_LIMIT:
                raise TooLarge(f"The file is larger than {READ_LIMIT} bytes; read it in pieces.")
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            yield Content(kind, _length(file_size, offset, size), offset, file, self._threads)

    async def checksum(self, scope: Scope, path: str, offset: int, size: int, method: str) -> str:
        """Hex digest of `size` bytes from `offset`; size 0 means to the end of the file.

        Raises InvalidRequest for an unknown method, else as `content` but for TooLarge.
        """
        if method not in CHECKSUMS:
            raise InvalidRequest(
                f"checksumMethod must be one of {', '.join(CHECKSUMS)}.", field="checksumMethod"
            )
        digest = hashlib.new(method, usedforsecurity=False)
        async with self._open(scope, path) as (file, _):
            end = offset + _length(await self._threads.run(file.size), offset, size or None)
            for start in range(offset, end, _DIGEST_BLOCK):
                await self._threads.run(
                    partial(_add_block, digest, file, start, min(_DIGEST_BLOCK, end - start))
                )
            await self._threads.run(file.check)
        return digest.hexdigest()

    async def folder(
        self,
        scope: Scope,
        path: str,
        *,
        depth: int | None,
        kind: Kind | None,
        pattern: str | None,
        hidden: bool,
    ) -> list[FolderEntry]:
        """What is in a granted folder and `depth` levels below it (None: all); a folder before its content.

        At most 10,000 entries: so many mean that there may be more. Raises NotGranted, SourceMissing,
        SourceDenied, SourceChanged, TooManyRequests; TooLarge when it takes a look at too many to find them.
        """
        found = self._places.granted(scope, path)
        grant = found.grant
        granted = Granted(os.fsencode(grant.path), grant.device, grant.inode)
        wanted = Wanted.reading(kind, pattern, hidden=hidden)
        entries: list[FolderEntry] = []
        looked_at = 0
        async with self._turns.take(scope.origin):
            content = await self._list(granted, found.below, "", wanted)
            todo = content[::-1]
            while todo and len(entries) < ENTRIES:
                entry = todo.pop()
                looked_at += 1
                if looked_at > LOOKED_AT:
                    raise TooLarge(TOO_MUCH)
                if looked_at % _IN_ONE_GO == 0:
                    await asyncio.sleep(0)  # a folder of many thousands holds up nobody
                if wanted.takes(entry):
                    entries.append(entry)
                names = tuple(entry.relative_path.split("/"))
                if entry.kind == "directory" and (depth is None or len(names) <= depth):
                    todo += await self._below(granted, (*found.below, *names), entry, wanted)
        return entries

    async def _below(
        self, granted: Granted, names: tuple[str, ...], entry: FolderEntry, wanted: Wanted
    ) -> list[FolderEntry]:
        """The content of a folder below, last name first; nothing when it cannot be looked into."""
        try:
            content = await self._list(granted, names, f"{entry.relative_path}/", wanted)
        except SourceError:
            return []
        return content[::-1]

    async def _list(
        self, granted: Granted, names: tuple[str, ...], above: str, wanted: Wanted
    ) -> list[FolderEntry]:
        return await self._threads.run(partial(list_folder, granted, names, above, wanted))

    @asynccontextmanager
    async def _open(self, scope: Scope, path: str) -> AsyncIterator[tuple[_Opened, str]]:
        """A turn, and a file that will be closed, with its name."""
        found = self._places.granted(scope, path)
        grant = found.grant
        granted = Granted(os.fsencode(grant.path), grant.device, grant.inode)
        file = _Opened(granted, tuple(os.fsencode(name) for name in found.below))
        async with self._turns.take(scope.origin):
            try:
                yield file, found.below[-1] if found.below else grant.path
            finally:
                # Not awaited: it may have to wait for a step of a disk that hangs.
                self._threads.post(file.close)


def _add_block(digest: hashlib._Hash, file: _Opened, offset: int, length: int) -> None:
    digest.update(file.read(offset, length))


def _length(file_size: int, offset: int, wanted: int | None) -> int:
    """How many bytes there are from `offset`, at most `wanted`; none past the end."""
    left = max(0, file_size - offset)
    return left if wanted is None else min(left, wanted)
