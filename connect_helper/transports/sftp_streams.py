"""The two loops that move the bytes of one file over SFTP, with many requests on their way.

Every byte is counted here: what was asked for, what came, what was confirmed. Answers are taken in the
order of the requests, so that there is always one offset up to which everything is certain.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from connect_helper.errors import ContentError, SourceChanged
from connect_helper.spec.names import display
from connect_helper.transports.base import Mark, RateLimiter, ReceiveItem, SendItem
from connect_helper.transports.pipe import Data
from connect_helper.transports.window import Window

DISK_BLOCK: Final = 2 * 1024 * 1024  # bytes read from or written to the disk at once
DISK_WAIT_S: Final = 0.2  # what arrived is written after this long, however little it is


class RemoteFile(Protocol):
    """An open file on the server; errors are ours already."""

    async def read(self, offset: int, length: int) -> Data: ...

    async def write(self, offset: int, data: Data) -> None: ...


@dataclass(frozen=True, slots=True)
class Line:
    """What all files of one connection share."""

    largest_read: int  # bytes the server allows in one request
    largest_write: int
    requests: asyncio.Semaphore  # bounds what is in memory
    limiter: RateLimiter
    clock: Callable[[], float]


@dataclass(slots=True)
class _Request:
    offset: int
    length: int
    task: asyncio.Task[Any]


class _Pipeline:
    """Requests on their way, oldest first. Leaving the context takes the unanswered ones back."""

    def __init__(self, line: Line, largest_block: int) -> None:
        self._line = line
        self._window = Window(largest_block, line.clock)
        self._under_way: deque[_Request] = deque()
        self._amount = 0

    async def __aenter__(self) -> _Pipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        for request in self._under_way:
            request.task.cancel()
        # Gathered so that no failure among them is reported as never looked at.
        await asyncio.gather(*(request.task for request in self._under_way), return_exceptions=True)
        for _request in self._under_way:
            self._line.requests.release()
        self._under_way.clear()

    @property
    def empty(self) -> bool:
        return not self._under_way

    def wants_more(self) -> bool:
        """Tell whether to start another request rather than look at the oldest.

        An answer that is there goes first, or a rate limit, which makes each start wait, would hide how
        far things are. With nothing under way one may always start, or nothing would ever move.
        """
        if self.empty:
            return True
        if self._under_way[0].task.done():
            return False
        return self._amount < self._window.size and not self._line.requests.locked()

    def block(self) -> int:
        return self._window.block(self._line.limiter.block_limit())

    async def start(self, offset: int, length: int, request: Coroutine[Any, Any, Any]) -> None:
        try:
            await self._line.limiter.take(length)
            await self._line.requests.acquire()
        except BaseException:
            request.close()
            raise
        task = asyncio.create_task(request, name=f"block at {offset}")
        self._under_way.append(_Request(offset, length, task))
        self._amount += length

    async def oldest(self) -> tuple[int, int, Any]:
        """Wait for the oldest request: its offset, length and answer."""
        request = self._under_way[0]
        answer = await request.task
        self._under_way.popleft()
        self._line.requests.release()
        self._amount -= request.length
        self._window.answered(request.length)
        return request.offset, request.length, answer


async def send_blocks(line: Line, file: RemoteFile, item: SendItem) -> None:
    """Write `item.source` from `item.offset` to its end into `file`."""
    size = item.source.size
    disk = _DiskReader(item)
    marks: deque[Mark] = deque()  # places reached by hashing, not yet confirmed by the server
    offset = item.offset
    async with _Pipeline(line, line.largest_write) as pipeline:
        while offset < size or not pipeline.empty:
            if offset < size and pipeline.wants_more():
                data = await disk.next_block(pipeline.block())
                if disk.mark is not None:
                    marks.append(disk.mark)
                await pipeline.start(offset, len(data), file.write(offset, data))
                offset += len(data)
                continue
            at, length, _ = await pipeline.oldest()
            while marks and marks[0].offset <= at + length:
                item.done = marks.popleft()
            item.sink(length)


class _DiskReader:
    """Reads the source in large pieces off the loop, hashes them there, and hands out blocks.

    After `next_block`, `mark` is set when that block began a new piece: the place the piece ends at.
    """

    def __init__(self, item: SendItem) -> None:
        self._item = item
        self._offset = item.offset
        self._piece = memoryview(b"")
        self._used = 0
        self.mark: Mark | None = None

    async def next_block(self, length: int) -> memoryview:
        self.mark = None
        if self._used == len(self._piece):
            wanted = min(DISK_BLOCK, self._item.source.size - self._offset)
            piece, self.mark = await asyncio.to_thread(self._read, wanted)
            self._piece = memoryview(piece)
            self._offset += wanted
            self._used = 0
        block = self._piece[self._used : self._used + length]
        self._used += len(block)
        return block

    def _read(self, length: int) -> tuple[bytes, Mark]:
        piece = self._item.source.read(self._offset, length)
        self._item.hashes.feed(piece)
        return piece, self._item.hashes.mark()


async def receive_blocks(line: Line, file: RemoteFile, item: ReceiveItem) -> None:
    """Fetch `item` from `item.offset` to `item.size` out of `file`, and check that it ends there."""
    disk = _DiskWriter(item, line.clock)
    offset = item.offset
    async with _Pipeline(line, line.largest_read) as pipeline:
        while offset < item.size or not pipeline.empty:
            if offset < item.size and pipeline.wants_more():
                length = min(pipeline.block(), item.size - offset)
                await pipeline.start(offset, length, _read_whole(file, item, offset, length))
                offset += length
                continue
            _, _, data = await pipeline.oldest()
            await disk.add(data)
        await disk.flush()
    if await file.read(item.size, 1):
        raise _changed(item)


async def _read_whole(file: RemoteFile, item: ReceiveItem, offset: int, length: int) -> Data:
    """`length` bytes at `offset`: a server may answer with fewer and has to be asked again."""
    data = await file.read(offset, length)
    while len(data) < length:
        more = await file.read(offset + len(data), length - len(data))
        if not more:
            raise _changed(item)
        data = b"".join((data, more))
    if len(data) > length:
        raise ContentError(f"The server sent more of {display(item.path)} than it was asked for.")
    return data


def _changed(item: ReceiveItem) -> SourceChanged:
    return SourceChanged(f"{display(item.path)} changed on the server while it was read; start again.")


class _DiskWriter:
    """Collects blocks and writes and hashes them in large pieces off the loop."""

    def __init__(self, item: ReceiveItem, clock: Callable[[], float]) -> None:
        self._item = item
        self._clock = clock
        self._flushed_at = clock()
        self._blocks: list[Data] = []
        self._amount = 0
        self._offset = item.offset

    async def add(self, data: Data) -> None:
        self._blocks.append(data)
        self._amount += len(data)
        if self._amount >= DISK_BLOCK or self._clock() - self._flushed_at >= DISK_WAIT_S:
            await self.flush()

    async def flush(self) -> None:
        blocks, amount = self._blocks, self._amount
        if not blocks:
            return
        self._blocks, self._amount = [], 0
        self._item.done = await asyncio.to_thread(self._write, blocks)
        self._offset += amount
        self._flushed_at = self._clock()
        self._item.sink(amount)

    def _write(self, blocks: list[Data]) -> Mark:
        self._item.target.write(self._offset, blocks)
        for block in blocks:
            self._item.hashes.feed(block)
        return self._item.hashes.mark()
