"""SFTP over SSH: the `Transport` that works with any SSH server.

Protocol: draft-ietf-secsh-filexfer-02 (version 3) with OpenSSH's extensions where the server has them:
limits, posix-rename, fsync, statvfs. Paths are bytes and never normalised; nothing here calls the
library's own `get` and `put`, which write under final names and count on the server's word.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, TypeVar

import asyncssh

from connect_helper.errors import (
    AlreadyExists,
    DiskFull,
    LengthMismatch,
    SourceChanged,
    TargetError,
    TargetIsFolder,
    TargetNotFolder,
)
from connect_helper.spec.names import display
from connect_helper.transports.base import (
    BlockHashes,
    Entry,
    Facts,
    Publish,
    RateLimiter,
    ReceiveItem,
    SendItem,
)
from connect_helper.transports.error_map import Side, remote_error
from connect_helper.transports.host_keys import AskHostKey, KnownKeys
from connect_helper.transports.pipe import Data
from connect_helper.transports.sftp_digest import program_digest
from connect_helper.transports.sftp_scan import facts_of, scan
from connect_helper.transports.sftp_streams import Line, receive_blocks, send_blocks
from connect_helper.transports.sftp_wire import Name, SftpWire, data_of, done
from connect_helper.transports.ssh_connection import Credentials, Endpoint, connect

_log = logging.getLogger(__name__)

REQUESTS: Final = 160  # of all files together, each of at most LARGEST_BLOCK
LARGEST_BLOCK: Final = 256 * 1024
UNKNOWN_LIMIT: Final = 32 * 1024  # what every server has to take (draft 02, section 3)
CLOSE_LIMIT_S: Final = 5.0
OPEN_LIMIT_S: Final = 30.0

_T = TypeVar("_T")
_WRITE: Final = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
_FRESH: Final = _WRITE | asyncssh.FXF_TRUNC | asyncssh.FXF_EXCL


class SftpTransport:
    """See `Transport`. `ask` is awaited when the server's key is unknown; a no is HostKeyUnknown."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        known: KnownKeys,
        ask: AskHostKey,
        limiter: RateLimiter,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._known = known
        self._ask = ask
        self._limiter = limiter
        self._address = ""
        self._owed = 0  # answers the server owes
        self._heard_at = 0.0
        self._folders: set[bytes] = set()
        self._folder_turn = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None

    # The connection ------------------------------------------------------------------------------

    async def __aenter__(self) -> SftpTransport:
        connected = await connect(self._endpoint, self._credentials, self._known, self._ask)
        self._connection = self._shell = connected.connection
        self._address = connected.address
        try:
            async with asyncio.timeout(OPEN_LIMIT_S):
                self._wire = await SftpWire.open(connected.connection)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            connected.connection.abort()
            raise TargetError(
                f"{self._endpoint} lets this user log in but not transfer files (no SFTP).",
                internal_message=f"{type(error).__name__}: {error}",
            ) from error
        except BaseException:
            connected.connection.abort()
            raise
        limits = self._wire.limits
        self._line = Line(
            min(limits.read or UNKNOWN_LIMIT, LARGEST_BLOCK),
            min(limits.write or UNKNOWN_LIMIT, LARGEST_BLOCK),
            asyncio.Semaphore(REQUESTS),
            self._limiter,
            time.monotonic,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        if kind is not None:
            self._connection.abort()  # a stop has a second; a polite goodbye may take the line's whole queue
            return
        self._connection.close()
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._connection.wait_closed()
        except (TimeoutError, asyncssh.Error, OSError) as reason:
            _log.info("closing the connection to %s: %s", self._endpoint, reason)
            self._connection.abort()

    @property
    def address(self) -> str:
        return self._address

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self._heard_at if self._owed else 0.0

    async def _call(self, call: Awaitable[_T], side: Side, name: bytes) -> _T:
        """Await one request: translate its error, note that the server answers."""
        if not self._owed:
            self._heard_at = time.monotonic()
        self._owed += 1
        try:
            return await call
        except (asyncssh.Error, OSError, ValueError) as error:
            raise remote_error(error, side, name) from error
        finally:
            self._owed -= 1
            self._heard_at = time.monotonic()

    # Questions about the far side ----------------------------------------------------------------

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        call = self._wire.stat(path, follow=follow)
        attrs = await self._call(_none_if_missing(call), "source", path)
        return None if attrs is None else facts_of(attrs)

    async def real_path(self, path: bytes) -> bytes:
        """The path with every link resolved by the server."""
        return await self._call(self._wire.real_path(path), "source", path)

    async def list_folder(self, path: bytes) -> AsyncIterator[Name]:
        """The entries of a folder, with the names as bytes."""
        handle = await self._call(self._wire.open_folder(path), "source", path)
        try:
            while names := await self._call(self._wire.read_folder(handle), "source", path):
                for name in names:
                    yield name
        finally:
            await self._close_quietly(handle, path)

    def scan(self, source: bytes, *, follow_links: bool) -> AsyncGenerator[Entry, None]:
        return scan(self, source, follow_links=follow_links)

    async def read_ranges(self, path: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        async with self._open(path, asyncssh.FXF_READ, "source") as file:
            # A handful of samples: asked for side by side, they cost one round trip.
            reads = [self._read_range(file, offset, length) for offset, length in ranges]
            return await asyncio.gather(*reads)

    async def _read_range(self, file: _RemoteFile, offset: int, length: int) -> bytes:
        data = b""
        while len(data) < length:
            block = min(length - len(data), self._line.largest_read)
            more = await file.read(offset + len(data), block)
            if not more:
                break
            data += more
        return data[:length]

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        by_program = await program_digest(self._shell, path, algorithm, length)
        if by_program and by_program == expected:
            return expected
        facts = await self.facts(path, follow=True)
        if facts is None or facts.size != length:
            raise LengthMismatch(f"{display(path)} on the server does not have the {length} bytes expected.")
        hashes = BlockHashes(algorithm)
        nowhere = ReceiveItem(path, length, facts.mtime_ns, _Nowhere(), 0, hashes, lambda _count: None)
        await self.receive(nowhere)
        return hashes.digest()

    # Moving bytes --------------------------------------------------------------------------------

    async def send(self, item: SendItem) -> None:
        flags = _FRESH if item.exclusive else _WRITE
        item.done = item.hashes.mark()
        async with self._open(item.partial, flags, "target") as file:
            if not item.exclusive:
                await self._call(self._wire.resize(file.handle, item.offset), "target", item.partial)
            try:
                await send_blocks(self._line, file, item)
                await self._sync(file)
            except TargetError as error:
                raise await self._full_or(error, item) from error

    async def _sync(self, file: _RemoteFile) -> None:
        try:
            await self._call(self._wire.fsync(file.handle), "target", file.path)
        except TargetError as error:
            if not isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                raise

    async def _full_or(self, error: TargetError, item: SendItem) -> TargetError:
        """Servers of version 3 call a full disk "failure"; ask for the space to name it."""
        if not isinstance(error.__cause__, asyncssh.SFTPFailure):
            return error
        folder = item.partial.rpartition(b"/")[0] or (b"/" if item.partial.startswith(b"/") else b".")
        try:
            space = await self._call(self._wire.space(folder), "target", folder)
        except TargetError:
            return error  # it cannot say
        free = space.free
        missing = item.source.size - item.done.offset
        if free >= min(missing, LARGEST_BLOCK):
            return error
        return DiskFull(
            f"The disk of the server is full: {display(folder)} has {free} bytes free, {missing} more are"
            " needed. Ask for room there and start again.",
            internal_message=error.internal_message,
        )

    async def receive(self, item: ReceiveItem) -> None:
        item.done = item.hashes.mark()
        async with self._open(item.path, asyncssh.FXF_READ, "source") as file:
            await self._unchanged(file, item)
            await receive_blocks(self._line, file, item)
            await self._unchanged(file, item)

    async def _unchanged(self, file: _RemoteFile, item: ReceiveItem) -> None:
        facts = facts_of(await self._call(self._wire.fstat(file.handle), "source", item.path))
        if (facts.size, facts.mtime_ns) != (item.size, item.mtime_ns):
            raise SourceChanged(f"{display(item.path)} changed on the server while it was read; start again.")

    @asynccontextmanager
    async def _open(self, path: bytes, flags: int, side: Side) -> AsyncIterator[_RemoteFile]:
        opening = self._wire.open_file(path, flags)
        try:
            handle = await self._call(opening, side, path)
        except TargetError as error:
            # OpenSSH says "failure" when an exclusive file exists.
            exists = flags & asyncssh.FXF_EXCL and isinstance(error.__cause__, asyncssh.SFTPFailure)
            if exists and await self.facts(path) is not None:
                raise AlreadyExists(f"{display(path)} exists already.") from error
            raise
        file = _RemoteFile(self, handle, path, side)
        try:
            yield file
        except asyncio.CancelledError:
            raise  # the connection is about to go; waiting for an answer would only hold up the stop
        except BaseException:
            await self._close_quietly(handle, path)
            raise
        else:
            await self._call(self._wire.close(handle), side, path)

    async def _close_quietly(self, handle: bytes, path: bytes) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._wire.close(handle)
        except (TimeoutError, asyncssh.Error, OSError) as error:
            _log.info("closing %s: %s", display(path), error)

    # Names on the far side -----------------------------------------------------------------------

    async def make_folder(self, path: bytes) -> None:
        path = path.rstrip(b"/") or b"/"
        if path in self._folders:
            return
        async with self._folder_turn:
            await self._make_folders(path)

    async def _make_folders(self, path: bytes) -> None:
        missing: list[bytes] = []
        while path not in self._folders:
            facts = await self.facts(path, follow=True)
            if facts is not None and facts.kind != "folder":
                raise TargetNotFolder(
                    f"{display(path)} on the server is no folder; choose another destination."
                )
            if facts is not None:
                self._folders.add(path)
                break
            missing.append(path)
            parent = path.rpartition(b"/")[0]
            if not parent:
                break
            path = parent.rstrip(b"/") or b"/"
        for folder in reversed(missing):
            await self._make_one(folder)
            self._folders.add(folder)

    async def _make_one(self, path: bytes) -> None:
        try:
            await self._call(self._wire.mkdir(path), "target", path)
        except TargetError:
            facts = await self.facts(path, follow=True)  # somebody else may have been quicker
            if facts is None or facts.kind != "folder":
                raise

    async def truncate(self, path: bytes, length: int) -> None:
        await self._call(self._wire.truncate(path, length), "target", path)

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        there = await self.facts(target)
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(f"{display(target)} cannot be written: a folder of that name is in the way.")
        if there is not None and how == "fresh":
            raise AlreadyExists(f"{display(target)} exists already on the server.")
        if how == "fresh":
            # Version 3 demands that a plain rename fails on an existing name.
            try:
                await self._call(self._wire.rename(partial, target), "target", target)
            except TargetError as error:
                if await self.facts(target) is None:
                    raise
                raise AlreadyExists(f"{display(target)} exists already on the server.") from error
            return
        try:
            await self._call(self._wire.posix_rename(partial, target), "target", target)
        except TargetError as error:
            if not isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                raise
            if there is not None:
                await self.remove(target)
            await self._call(self._wire.rename(partial, target), "target", target)

    async def set_times(self, path: bytes, mtime_ns: int) -> None:
        try:
            await self._call(self._wire.set_times(path, mtime_ns // 1_000_000_000), "target", path)
        except TargetError as error:
            _log.info("%s keeps its own time: %s", display(path), error.internal_message)

    async def remove(self, path: bytes) -> None:
        await self._call(_none_if_missing(self._wire.remove(path)), "target", path)


async def _none_if_missing(call: Awaitable[_T]) -> _T | None:
    try:
        return await call
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None


class _RemoteFile:
    """An open file of the server, each call one request."""

    def __init__(self, transport: SftpTransport, handle: bytes, path: bytes, side: Side) -> None:
        self._transport = transport
        self.handle = handle
        self.path = path
        self._side: Side = side

    async def read(self, offset: int, length: int) -> Data:
        """Up to `length` bytes; none at the end of the file."""
        return await self._transport._call(self._read(offset, length), self._side, self.path)

    async def _read(self, offset: int, length: int) -> Data:
        return data_of(await self._transport._wire.start_read(self.handle, offset, length))

    async def write(self, offset: int, data: Data) -> None:
        await self._transport._call(self._write(offset, data), self._side, self.path)

    async def _write(self, offset: int, data: Data) -> None:
        done(await self._transport._wire.start_write(self.handle, offset, data))


class _Nowhere:
    """A target for bytes that are only hashed."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        pass
