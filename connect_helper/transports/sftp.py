"""SFTP over SSH: the `Transport` that works with any SSH server.

Protocol: draft-ietf-secsh-filexfer-02 (version 3) with OpenSSH's extensions where the server has them:
limits, posix-rename, fsync, statvfs. Paths are bytes and never normalised; nothing here calls the
library's own `get` and `put`, which write under final names and count on the server's word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypeVar

import asyncssh

from connect_helper.errors import (
    AlreadyExists,
    ContentError,
    DiskFull,
    LengthMismatch,
    SourceError,
    TargetError,
    TargetIsFolder,
    TransferError,
)
from connect_helper.spec.names import display
from connect_helper.spec.words import Links
from connect_helper.transports.base import (
    BlockHashes,
    Enters,
    Entry,
    Facts,
    Mark,
    Publish,
    RateLimiter,
    ReceiveItem,
    SendItem,
    everywhere,
)
from connect_helper.transports.connections import Connections
from connect_helper.transports.error_map import Side
from connect_helper.transports.host_keys import AskHostKey, KnownKeys
from connect_helper.transports.kept import KeptConnections
from connect_helper.transports.lane import LARGEST_BLOCK, Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_answers import Answer, Name, data_of, listed
from connect_helper.transports.sftp_digest import program_digest
from connect_helper.transports.sftp_folders import RemoteFolders
from connect_helper.transports.sftp_receiving import Receiving, changed, unchanged
from connect_helper.transports.sftp_scan import facts_of, scan
from connect_helper.transports.sftp_sending import Sending
from connect_helper.transports.sftp_wire import SftpWire
from connect_helper.transports.ssh_connection import Credentials, Endpoint
from connect_helper.transports.ssh_errors import remote_error
from connect_helper.wire.writer import Data

_log = logging.getLogger(__name__)

LISTINGS: Final = 16  # questions for the entries of one folder that are on their way
LISTED_LIMIT: Final = 200_000  # entries of one folder that are compared with another's
CLOSE_LIMIT_S: Final = 5.0
SMALL: Final = 256 * 1024  # bytes; a file up to this size may go in one write

_T = TypeVar("_T")
_WRITE: Final = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
_SECOND: Final = 1_000_000_000  # ns
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
        connections: int | None = None,
        divide_from: int | None = None,
        kept: KeptConnections | None = None,
    ) -> None:
        """`kept` has what earlier transfers left, and gets what this one leaves."""
        self._limiter = limiter
        self._connections = Connections(
            endpoint, credentials, known, ask, limiter, connections, divide_from, kept
        )
        self._folders = RemoteFolders(self.facts, self._mkdir)

    async def __aenter__(self) -> SftpTransport:
        try:
            await self._connections.open()
        except BaseException:
            await self._connections.close(well=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close(well=kind is None)

    def expect(self, size: int, files: int = 1) -> None:
        self._connections.expect(size, files)

    @property
    def address(self) -> str:
        return self._connections.address

    @property
    def compares_whole(self) -> bool:
        return False

    @property
    def silent_s(self) -> float:
        return self._all.silent_s

    @property
    def connections(self) -> int:
        """How many there are at the moment."""
        return len(self._all.all)

    @property
    def _all(self) -> Lanes:
        return self._connections.lanes

    async def _call(self, ask: Callable[[SftpWire], Awaitable[_T]], side: Side, name: bytes) -> _T:
        """One request over the connection with the least to do, its error translated."""
        lane = self._all.lightest()
        return await lane.call(ask(lane.wire), side, name)

    # Questions about the far side ----------------------------------------------------------------

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        attrs = await self._call(
            lambda wire: _none_if_missing(wire.stat(path, follow=follow)), "source", path
        )
        facts = None if attrs is None else facts_of(attrs)
        if follow and facts is not None and facts.kind == "folder":
            self._folders.learn(path)
        return facts

    async def real_path(self, path: bytes) -> bytes:
        """The path with every link resolved by the server."""
        return await self._call(lambda wire: wire.real_path(path), "source", path)

    async def list_folder(self, path: bytes) -> AsyncIterator[Name]:
        """The entries of a folder, with the names as bytes."""
        lane = self._all.lightest()
        handle = await lane.call(lane.wire.open_folder(path), "source", path)
        asked: deque[asyncio.Future[Answer]] = deque()
        depth = 1  # a small folder is listed with one question, a large one need not wait for each
        try:
            while True:
                while len(asked) < depth:
                    asked.append(lane.wire.start_listing(handle))
                names = await lane.answer(asked.popleft(), listed, "source", path)
                if not names:
                    return
                for name in names:
                    yield name
                depth = min(2 * depth, LISTINGS)
        except asyncssh.Error as error:
            raise remote_error(error, "source", path) from error
        finally:
            lane.wire.close_soon(handle)

    async def read_link(self, path: bytes) -> bytes:
        """What a link says, as it stands there."""
        return await self._call(lambda wire: wire.read_link(path), "source", path)

    async def list_names(self, path: bytes) -> list[tuple[bytes, Facts]]:
        found: list[tuple[bytes, Facts]] = []
        async for entry in self.list_folder(path):
            if len(found) >= LISTED_LIMIT:  # or a server that makes names up would fill the memory
                raise TargetError(f"{display(path)} on the server holds too many entries to compare.")
            if entry.filename not in (b".", b".."):
                found.append((entry.filename, facts_of(entry.attrs)))
        return found

    def scan(
        self, source: bytes, *, links: Links = "follow", enters: Enters = everywhere
    ) -> AsyncGenerator[Entry, None]:
        return scan(self, source, links=links, enters=enters)

    async def read_ranges(self, path: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        async with self._open(self._all.lightest(), path, asyncssh.FXF_READ, "source") as file:
            # A handful of samples: asked for side by side, they cost one round trip.
            return await asyncio.gather(*(file.read_whole(offset, length) for offset, length in ranges))

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        by_server = await self._digest_by_server(path, algorithm)
        if by_server:
            return by_server
        by_program = await program_digest(self._all.first.connection, path, algorithm, length)
        if by_program and by_program == expected:
            return expected
        facts = await self.facts(path, follow=True)
        if facts is None or facts.size != length:
            raise LengthMismatch(f"{display(path)} on the server does not have the {length} bytes expected.")
        hashes = BlockHashes(algorithm)
        nowhere = ReceiveItem(path, length, facts.mtime_ns, _Nowhere(), 0, hashes, lambda _count: None)
        await self.receive(nowhere)
        return hashes.digest()

    async def _digest_by_server(self, path: bytes, algorithm: str) -> str:
        """What a server says that offers the check-file extension; "" where it has no answer."""
        try:
            return await self._call(lambda wire: wire.check_file(path, algorithm), "source", path)
        except SourceError as error:
            _log.debug("no digest by the server: %s", error.internal_message)
            return ""

    # Moving bytes --------------------------------------------------------------------------------

    async def send(self, item: SendItem) -> None:
        lane = self._all.lightest()
        if item.exclusive and not item.offset and item.source.size <= min(lane.largest_write, SMALL):
            await self._send_at_once(lane, item)
            return
        flags = _FRESH if item.exclusive else _WRITE
        item.done = item.hashes.mark()
        moving, lane = Sending(self._all, self._limiter, item), self._lane_for(item.source.size)
        async with moving.opening(lane), self._open(lane, item.partial, flags, "target") as file:
            if not item.exclusive:
                await file.call(file.wire.resize(file.handle, item.offset))
            try:
                await moving.run(file.handle)
                await _settle(file, item)
            except TargetError as error:
                raise await self._full_or(error, item) from error
            finally:
                await moving.close()

    async def _send_at_once(self, lane: Lane, item: SendItem) -> None:
        """A small file, with everything behind the opening on its way together."""
        data = item.source.held
        if data is None:
            data = await asyncio.to_thread(_read_all, item)
        else:
            item.hashes.feed(data)  # small enough to be hashed here
        lane.users += 1
        try:
            handle = await self._opened(lane, item.partial, _FRESH, "target")
            await self._limiter.take(len(data))
            try:
                writing = lane.wire.write_out(handle, data, _seconds(item.times))
                attrs = await lane.call(writing, "target", item.partial)
            except TargetError as error:
                raise await self._full_or(error, item) from error
        finally:
            lane.users -= 1
        lane.moved += len(data)
        item.arrived, item.times = facts_of(attrs), None
        item.done = item.hashes.mark()
        item.sink(len(data))

    def _lane_for(self, size: int) -> Lane:
        return self._all.first if self._all.divides(size) else self._all.lightest()

    async def _full_or(self, error: TargetError, item: SendItem) -> TargetError:
        """Servers of version 3 call a full disk "failure"; ask for the space to name it."""
        if not isinstance(error.__cause__, asyncssh.SFTPFailure):
            return error
        folder = item.partial.rpartition(b"/")[0] or (b"/" if item.partial.startswith(b"/") else b".")
        try:
            space = await self._call(lambda wire: wire.space(folder), "target", folder)
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
        lane = self._all.lightest()
        if not item.offset and item.size < min(lane.largest_read, SMALL):
            if await self._receive_at_once(lane, item):
                return
            item.done = item.hashes.mark()
        moving, lane = Receiving(self._all, self._limiter, item), self._lane_for(item.size)
        async with moving.opening(lane), self._open(lane, item.path, asyncssh.FXF_READ, "source") as file:
            proof = asyncio.create_task(unchanged(file.lane, file.handle, item), name="same file")
            try:
                await moving.run(file.handle, proof)
                await proof
            except BaseException:
                proof.cancel()
                await asyncio.gather(proof, return_exceptions=True)
                with suppress(TransferError):  # the first error is the one that counts
                    await moving.close()
                raise
            await moving.close()
            attrs, more = await file.last(file.wire.look_behind(file.handle, item.size))
            facts = facts_of(attrs)
            if more or (facts.size, facts.mtime_ns) != (item.size, item.mtime_ns):
                raise changed(item)

    async def _receive_at_once(self, lane: Lane, item: ReceiveItem) -> bool:
        """A small file, with everything behind the opening on its way together.

        False when the server answers with less than there is: it has to be asked piece by piece.
        """
        lane.users += 1
        try:
            handle = await self._opened(lane, item.path, asyncssh.FXF_READ, "source")
            await self._limiter.take(item.size)
            # One byte more than there should be: a file that has grown shows.
            reading = lane.wire.read_in(handle, item.size + 1)
            before, data, after = await lane.call(reading, "source", item.path)
        finally:
            lane.users -= 1
        expected = (item.size, item.mtime_ns)
        for attrs in (before, after):
            facts = facts_of(attrs)
            if (facts.size, facts.mtime_ns) != expected:
                raise changed(item)
        if len(data) > item.size + 1:
            raise ContentError(f"The server sent more of {display(item.path)} than it was asked for.")
        if len(data) > item.size:
            raise changed(item)
        if len(data) < item.size:
            return False
        if item.writes_itself:
            item.content = data
        else:
            item.done = await asyncio.to_thread(_write_all, item, data)
        lane.moved += len(data)
        item.sink(len(data))
        return True

    @asynccontextmanager
    async def _open(self, lane: Lane, path: bytes, flags: int, side: Side) -> AsyncIterator[_RemoteFile]:
        lane.users += 1
        try:
            file = _RemoteFile(lane, await self._opened(lane, path, flags, side), path, side)
            try:
                yield file
            except asyncio.CancelledError:
                raise  # the connection is about to go; waiting for an answer would only hold up the stop
            except BaseException:
                if file.is_open:
                    await _close_quietly(lane, file.handle, path)
                raise
            else:
                if file.is_open:
                    await file.call(lane.wire.close(file.handle))
        finally:
            lane.users -= 1

    async def _opened(self, lane: Lane, path: bytes, flags: int, side: Side) -> bytes:
        try:
            return await lane.call(lane.wire.open_file(path, flags), side, path)
        except TargetError as error:
            # OpenSSH says "failure" when an exclusive file exists.
            exists = flags & asyncssh.FXF_EXCL and isinstance(error.__cause__, asyncssh.SFTPFailure)
            if exists and await self.facts(path) is not None:
                raise AlreadyExists(f"{display(path)} exists already.") from error
            raise

    # Names on the far side -----------------------------------------------------------------------

    async def make_folder(self, path: bytes) -> None:
        await self._folders.make(path)

    def is_new(self, folder: bytes) -> bool:
        return self._folders.is_new(folder)

    async def _mkdir(self, path: bytes) -> None:
        await self._call(lambda wire: wire.mkdir(path), "target", path)

    async def truncate(self, path: bytes, length: int) -> None:
        await self._call(lambda wire: wire.truncate(path, length), "target", path)

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        if how != "replace":
            if how == "fresh":
                await self._refuse_taken(target, folders_only=False)
            # Version 3 demands that a plain rename fails on an existing name.
            try:
                await self._call(lambda wire: wire.rename(partial, target), "target", target)
            except TargetError as error:
                if await self.facts(target) is None:
                    raise
                raise AlreadyExists(f"{display(target)} exists already on the server.") from error
            return
        try:
            await self._call(lambda wire: wire.posix_rename(partial, target), "target", target)
        except TargetError as error:
            await self._refuse_taken(target, folders_only=True)
            if not isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                raise
            await self._swap(partial, target)

    async def _swap(self, partial: bytes, target: bytes) -> None:
        """Replace a file on a server whose renaming never replaces: the old one stands aside meanwhile."""
        aside = partial + b".old"
        await self._call(lambda wire: _none_if_missing(wire.rename(target, aside)), "target", target)
        try:
            await self._call(lambda wire: wire.rename(partial, target), "target", target)
        except BaseException:
            with suppress(TransferError):
                await self._call(lambda wire: _none_if_missing(wire.rename(aside, target)), "target", target)
            raise
        await self.remove(aside)

    async def _refuse_taken(self, target: bytes, *, folders_only: bool) -> None:
        there = await self.facts(target)
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(f"{display(target)} cannot be written: a folder of that name is in the way.")
        if there is not None and not folders_only:
            raise AlreadyExists(f"{display(target)} exists already on the server.")

    async def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> None:
        times = atime_ns // _SECOND, mtime_ns // _SECOND
        try:
            await self._call(lambda wire: wire.set_times(path, *times), "target", path)
        except TargetError as error:
            _log.info("%s keeps its own time: %s", display(path), error.internal_message)

    async def remove(self, path: bytes) -> None:
        await self._call(lambda wire: _none_if_missing(wire.remove(path)), "target", path)

    async def remove_folder(self, path: bytes) -> None:
        await self._call(lambda wire: _none_if_missing(wire.rmdir(path)), "target", path)
        self._folders.forget(path)

    async def make_link(self, path: bytes, content: bytes) -> None:
        await self._call(lambda wire: wire.symlink(content, path), "target", path)


async def _none_if_missing(call: Awaitable[_T]) -> _T | None:
    try:
        return await call
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None


async def _close_quietly(lane: Lane, handle: bytes, path: bytes) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await lane.wire.close(handle)
    except (TimeoutError, asyncssh.Error, OSError) as error:
        _log.info("closing %s: %s", display(path), error)


@dataclass(slots=True)
class _RemoteFile:
    """An open file of the server; errors are ours."""

    lane: Lane
    handle: bytes
    path: bytes
    side: Side
    is_open: bool = True

    @property
    def wire(self) -> SftpWire:
        return self.lane.wire

    async def call(self, call: Awaitable[_T]) -> _T:
        return await self.lane.call(call, self.side, self.path)

    async def last(self, call: Awaitable[_T]) -> _T:
        """As `call`, for what closes the file."""
        self.is_open = False
        return await self.call(call)

    async def read(self, offset: int, length: int) -> Data:
        """Up to `length` bytes; none at the end of the file."""
        return await self.call(self._read(offset, length))

    async def _read(self, offset: int, length: int) -> Data:
        return data_of(await self.wire.start_read(self.handle, offset, length))

    async def read_whole(self, offset: int, length: int) -> bytes:
        """`length` bytes, fewer only where the file ends."""
        data = b""
        while len(data) < length:
            block = min(length - len(data), self.lane.largest_read)
            more = await self.read(offset + len(data), block)
            if not more:
                break
            data += more
        return data[:length]


async def _settle(file: _RemoteFile, item: SendItem) -> None:
    """Everything is confirmed: set the times, make it durable, look at it and close it."""
    try:
        attrs = await file.last(file.wire.settle(file.handle, times=_seconds(item.times)))
    except TargetError:
        item.done = Mark()  # what the server shows from here on need not be on its disk (REL-11)
        raise
    item.arrived, item.times = facts_of(attrs), None


def _seconds(times_ns: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if times_ns is None else (times_ns[0] // _SECOND, times_ns[1] // _SECOND)


def _read_all(item: SendItem) -> bytes:
    data = item.source.read(0, item.source.size)
    item.hashes.feed(data)
    return data


def _write_all(item: ReceiveItem, data: Data) -> Mark:
    item.target.write(0, [data])
    item.hashes.feed(data)
    return item.hashes.mark()


class _Nowhere:
    """A target for bytes that are only hashed."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        pass
