"""SFTP over SSH: the `Transport` that works with any SSH server.

Protocol: draft-ietf-secsh-filexfer-02 (version 3) with OpenSSH's extensions where the server has them:
limits, posix-rename, fsync, statvfs. Paths are bytes and never normalised; nothing here calls the
library's own `get` and `put`, which write under final names and count on the server's word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

import asyncssh

from connect_helper.errors import (
    AlreadyExists,
    ConnectionLost,
    LengthMismatch,
    SourceError,
    TargetError,
    TargetIsFolder,
    TransferError,
)
from connect_helper.spec.block_hash import BLOCK_HASH
from connect_helper.spec.names import NAME_LIMIT, cut_name, display
from connect_helper.spec.words import Links
from connect_helper.transports.base import (
    RECORD_BLOCK,
    BlockHashes,
    Enters,
    Entry,
    Facts,
    Publish,
    ReceiveItem,
    SendItem,
    everywhere,
)
from connect_helper.transports.connections import Connections
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.proof import PATIENCE, patience_s
from connect_helper.transports.sftp_answers import Answer, Name, listed
from connect_helper.transports.sftp_digest import program_digest
from connect_helper.transports.sftp_files import none_if_missing, open_file
from connect_helper.transports.sftp_folders import RemoteFolders
from connect_helper.transports.sftp_receiving import receive_file
from connect_helper.transports.sftp_scan import facts_of, scan
from connect_helper.transports.sftp_sending import send_file
from connect_helper.transports.sftp_settling import Settling
from connect_helper.transports.ssh_errors import remote_error

_log = logging.getLogger(__name__)

LISTINGS: Final = 16  # questions for the entries of one folder that are on their way
ASIDE: Final = 100  # names tried for a file that stands aside while it is replaced
LISTED_LIMIT: Final = 200_000  # entries of one folder that are compared with another's

_SECOND: Final = 1_000_000_000  # ns


class SftpTransport:
    """See `Transport`."""

    def __init__(self, connections: Connections) -> None:
        """`connections` are opened and closed with the transport."""
        self._connections = connections
        self._limiter = connections.limiter
        self._folders = RemoteFolders(self.facts, self._mkdir)
        self._settling = Settling()

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
        try:
            await self._settling.close()
        finally:
            await self._connections.close(well=kind is None)

    def expect(self, size: int, files: int = 1) -> None:
        self._connections.expect(size, files)

    @property
    def address(self) -> str:
        return self._connections.address

    @property
    def whole_hash(self) -> str:
        return ""

    @property
    def names_unfinished(self) -> bool:
        return True

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

    # Questions about the far side ----------------------------------------------------------------

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        attrs = await self._all.call(
            lambda wire: none_if_missing(wire.stat(path, follow=follow)), "source", path
        )
        facts = None if attrs is None else facts_of(attrs)
        if follow and facts is not None and facts.kind == "folder":
            self._folders.learn(path)
        return facts

    async def unfinished(self, partial: bytes) -> Facts | None:
        return await self.facts(partial)

    async def real_path(self, path: bytes) -> bytes:
        return await self._all.call(lambda wire: wire.real_path(path), "source", path)

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
        return await self._all.call(lambda wire: wire.read_link(path), "source", path)

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
        async with open_file(self._all, self._all.lightest(), path, asyncssh.FXF_READ, "source") as file:
            # A handful of samples: asked for side by side, they cost one round trip.
            return await asyncio.gather(*(file.read_whole(offset, length) for offset, length in ranges))

    async def block_digest(self, path: bytes, start: int, length: int) -> str:
        if not self._all.first.wire.tells_digests:
            return ""
        lane = self._all.first
        asking = lane.wire.check_file(path, BLOCK_HASH, start, length, RECORD_BLOCK)
        try:
            async with asyncio.timeout(PATIENCE * patience_s(length)):
                return (await lane.call(asking, "source", path)).hex()
        except (SourceError, TimeoutError) as error:
            _log.debug("no digest by the server: %s", error)
            return ""

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        by_server = await self._digest_by_server(path, algorithm, length)
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

    async def _digest_by_server(self, path: bytes, algorithm: str, length: int) -> str:
        """What a server says that offers the check-file extension; "" where it has no answer."""
        lane = self._all.lightest()  # it may take long, and what is asked behind it waits
        lane.users += 1
        try:
            async with asyncio.timeout(PATIENCE * patience_s(length)):
                told = await lane.call(lane.wire.check_file(path, algorithm), "source", path)
        except SourceError as error:
            _log.debug("no digest by the server: %s", error.internal_message)
            return ""
        except TimeoutError as error:
            raise ConnectionLost(
                f"The server has not told the digest of {display(path)} in time.",
                internal_message=f"no digest in {PATIENCE * patience_s(length):.0f} s",
            ) from error
        finally:
            lane.users -= 1
        return told.hex()

    # Moving bytes --------------------------------------------------------------------------------

    async def send(self, item: SendItem) -> None:
        await send_file(self._all, self._limiter, item, self._settling)

    async def receive(self, item: ReceiveItem) -> None:
        await receive_file(self._all, self._limiter, item)

    # Names on the far side -----------------------------------------------------------------------

    async def make_folder(self, path: bytes) -> None:
        await self._folders.make(path)

    def is_new(self, folder: bytes) -> bool:
        return self._folders.is_new(folder)

    async def _mkdir(self, path: bytes) -> None:
        await self._all.call(lambda wire: wire.mkdir(path), "target", path)

    async def truncate(self, path: bytes, length: int) -> None:
        await self._all.call(lambda wire: wire.truncate(path, length), "target", path)

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        await self._publish(partial, target, how)
        if (times := await self._settling.over(partial)) is not None:
            try:
                await self._all.call(lambda wire: wire.set_times(target, *times), "target", target)
            except TransferError as error:  # the file is there, whole, under its name
                _log.info("%s has not its times: %s", display(target), error.internal_message)

    async def _publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        if how != "replace":
            if how == "fresh":
                await self._refuse_taken(target, folders_only=False)
            # Version 3 demands that a plain rename fails on an existing name.
            try:
                await self._all.call(lambda wire: wire.rename(partial, target), "target", target)
            except TargetError as error:
                if await self.facts(target) is None:
                    raise
                raise AlreadyExists(f"{display(target)} exists already on the server.") from error
            return
        try:
            await self._all.call(lambda wire: wire.posix_rename(partial, target), "target", target)
        except TargetError as error:
            await self._refuse_taken(target, folders_only=True)
            if not isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                raise
            await self._swap(partial, target)

    async def _swap(self, partial: bytes, target: bytes) -> None:
        """Replace a file on a server whose renaming never replaces: the old one stands aside meanwhile."""
        aside = await self._free_aside(partial)
        await self._all.call(lambda wire: none_if_missing(wire.rename(target, aside)), "target", target)
        try:
            await self._all.call(lambda wire: wire.rename(partial, target), "target", target)
        except BaseException:
            with suppress(TransferError):
                await self._all.call(
                    lambda wire: none_if_missing(wire.rename(aside, target)), "target", target
                )
            raise
        await self.remove(aside)

    async def _free_aside(self, partial: bytes) -> bytes:
        """A name for what stands aside; under one a killed session may have left something of value."""
        folder, slash, name = partial.rpartition(b"/")
        for number in range(ASIDE):
            end = b".old%d" % number if number else b".old"
            aside = folder + slash + cut_name(name, NAME_LIMIT - len(end)) + end
            if await self.facts(aside) is None:
                return aside
        raise AlreadyExists(f"{display(partial)}: too many files that stood aside there.")

    async def _refuse_taken(self, target: bytes, *, folders_only: bool) -> None:
        there = await self.facts(target)
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(f"{display(target)} cannot be written: a folder of that name is in the way.")
        if there is not None and not folders_only:
            raise AlreadyExists(f"{display(target)} exists already on the server.")

    async def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> bool:
        times = atime_ns // _SECOND, mtime_ns // _SECOND
        try:
            await self._all.call(lambda wire: wire.set_times(path, *times), "target", path)
        except TargetError as error:
            _log.info("%s keeps its own time: %s", display(path), error.internal_message)
            return False
        return True

    async def remove(self, path: bytes) -> None:
        await self._settling.over(path)
        await self._all.call(lambda wire: none_if_missing(wire.remove(path)), "target", path)

    async def remove_folder(self, path: bytes) -> None:
        await self._all.call(lambda wire: none_if_missing(wire.rmdir(path)), "target", path)
        self._folders.forget(path)

    async def make_link(self, path: bytes, content: bytes) -> None:
        await self._all.call(lambda wire: wire.symlink(content, path), "target", path)


class _Nowhere:
    """A target for bytes that are only hashed."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        pass
