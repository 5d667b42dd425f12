"""Opens single files of the server and gives them back, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import asyncssh

from connect_helper.errors import AlreadyExists, TargetError
from connect_helper.spec.names import display
from connect_helper.transports.error_map import Side
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_answers import data_of
from connect_helper.transports.sftp_wire import SftpWire
from connect_helper.wire.writer import Data

_log = logging.getLogger(__name__)

CLOSE_LIMIT_S: Final = 5.0
SMALL: Final = 256 * 1024  # bytes; a file up to this size may go in one write

_T = TypeVar("_T")


@dataclass(slots=True)
class RemoteFile:
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

    def leave(self) -> None:
        """Somebody else closes it."""
        self.is_open = False

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


@asynccontextmanager
async def open_file(
    lanes: Lanes, lane: Lane, path: bytes, flags: int, side: Side
) -> AsyncIterator[RemoteFile]:
    """A file of the server, open for as long as the context is."""
    lane.users += 1
    try:
        file = RemoteFile(lane, await open_handle(lanes, lane, path, flags, side), path, side)
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


async def open_handle(lanes: Lanes, lane: Lane, path: bytes, flags: int, side: Side) -> bytes:
    """The handle of a file that is opened. Raises AlreadyExists, also where a server gives no reason."""
    try:
        return await lane.call(lane.wire.open_file(path, flags), side, path)
    except TargetError as error:
        # OpenSSH says "failure" when an exclusive file exists.
        exists = flags & asyncssh.FXF_EXCL and isinstance(error.__cause__, asyncssh.SFTPFailure)
        if exists and await _is_there(lanes, path):
            raise AlreadyExists(f"{display(path)} exists already.") from error
        raise


async def _is_there(lanes: Lanes, path: bytes) -> bool:
    looking = lanes.call(lambda wire: none_if_missing(wire.stat(path, follow=False)), "source", path)
    return await looking is not None


async def _close_quietly(lane: Lane, handle: bytes, path: bytes) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await lane.wire.close(handle)
    except (TimeoutError, asyncssh.Error, OSError) as error:
        _log.info("closing %s: %s", display(path), error)


async def none_if_missing(call: Awaitable[_T]) -> _T | None:
    """None where the server says that nothing is there."""
    try:
        return await call
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None
