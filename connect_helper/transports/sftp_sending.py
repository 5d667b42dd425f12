"""Sends one file: which blocks of it are confirmed, and whether all connections show the same file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import asyncssh

from connect_helper.errors import TargetError
from connect_helper.transports.base import RateLimiter, SendItem
from connect_helper.transports.disk_ends import DiskReader
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_answers import Answer, done, handle_of, looked
from connect_helper.transports.sftp_move import Block, Move

SAME_FILE_S: Final = 5  # between the times two connections tell of a file that is being written
COPY_S: Final = 0.1  # how long copies nobody needs any more may take, or
COPY_ROUND_TRIPS: Final = 1.5


class _Prefix:
    """Ranges confirmed in any order, and the place up to which there is no gap."""

    def __init__(self, begin: int) -> None:
        self.end = begin
        self._beyond: dict[int, int] = {}

    def add(self, offset: int, length: int) -> int:
        self._beyond[offset] = length
        while (more := self._beyond.pop(self.end, 0)) > 0:
            self.end += more
        return self.end


@dataclass(frozen=True, slots=True)
class _Looks:
    """What two connections are asked about one file."""

    certain: int  # bytes that were at the server then
    here: asyncio.Future[Answer]
    at_first: asyncio.Future[Answer]


class Sending(Move):
    """`item.source` from `item.offset` to its end, into the partial file."""

    side = "target"

    def __init__(self, lanes: Lanes, limiter: RateLimiter, item: SendItem) -> None:
        super().__init__(lanes, limiter, item.partial, item.offset, item.source.size)
        self._item = item
        self._disk = DiskReader(item)
        self.exists = not item.exclusive
        self._prefix = _Prefix(item.offset)
        self._looks: dict[Lane, _Looks] = {}

    async def take(self, length: int) -> Block:
        data = await self._disk.next_block(length)
        return Block(self.next, len(data), data)

    def ask(self, lane: Lane, handle: bytes, block: Block) -> asyncio.Future[Answer]:
        return lane.wire.start_write(handle, block.offset, block.data)

    async def finish(self, lane: Lane, handle: bytes, block: Block, answer: Answer) -> None:
        done(answer)
        del self.pending[block.offset]
        before, self.certain = self.certain, self._prefix.add(block.offset, block.length)
        marks = self._disk.marks
        while marks and marks[0].offset <= self.certain:
            self._item.done = marks.popleft()
        if self.certain > before:  # what lies behind a gap would have to be sent again
            self._item.sink(self.certain - before)

    async def open(self, lane: Lane) -> bytes:
        handle, self._looks[lane] = await lane.call(self._open_and_look(lane), "target", self.path)
        return handle

    async def _open_and_look(self, lane: Lane) -> tuple[bytes, _Looks]:
        """Look at the file right behind its opening: to wait for the handle would cost a round trip."""
        opening = lane.wire.start_open(self.path, asyncssh.FXF_WRITE)
        looks = _Looks(
            self.certain, lane.wire.start_look_at(self.path), self.first.wire.start_look_at(self.path)
        )
        return handle_of(await opening), looks

    async def check(self, lane: Lane, handle: bytes) -> None:
        looks = self._looks.pop(lane)
        facts = await lane.answer(looks.here, looked, "target", self.path)
        first_facts = await self.first.answer(looks.at_first, looked, "target", self.path)
        # A file of the same name on another machine was left there by an earlier run, and is older.
        apart_s = abs((first_facts.mtime or 0) - (facts.mtime or 0))
        if (facts.size or 0) < looks.certain or apart_s > SAME_FILE_S:
            raise TargetError("The server shows different files on different connections.")

    async def close_handle(self, lane: Lane, handle: bytes, clean: bool) -> None:
        if clean:
            lane.wire.close_soon(handle)
            return
        # A second copy of a block must not be written behind the back of what comes next.
        closing = lane.call(lane.wire.close(handle), "target", self.path)
        if lane.users or lane is self.lanes.first:
            await closing
            return
        try:
            async with asyncio.timeout(max(COPY_S, COPY_ROUND_TRIPS * lane.round_trip_s)):
                await closing
        except TimeoutError:
            self.lanes.drop(lane)  # what is left of the copy goes down with it

    async def close(self) -> None:
        await self._disk.close()
