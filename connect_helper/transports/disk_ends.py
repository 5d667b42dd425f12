"""The local end of one file under way: read or written, and hashed, in large pieces off the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from connect_helper.transports.base import Mark, ReceiveItem, SendItem
from connect_helper.wire.writer import Data

DISK_BLOCK: Final = 2 * 1024 * 1024  # bytes read from or written to the disk at once
MARK_EVERY: Final = 256 * 1024  # bytes between the places sending can go on from
HASHED_LATE: Final = 2  # pieces that are handed out and not hashed, at most
DISK_WAIT_S: Final = 0.2  # what arrived is written after this long, however little it is


class DiskReader:
    """Reads the source in large pieces off the loop, one ahead, and hands out blocks.

    What was read is hashed beside that, in order: nothing on its way waits for it, but reading does before
    too much is behind. `marks` are the places that what is hashed can be gone on from, oldest first.
    """

    def __init__(self, item: SendItem) -> None:
        self._item = item
        self._offset = item.offset
        self._piece = memoryview(b"")
        self._ahead: asyncio.Task[bytes] | None = None
        self._hashing: deque[asyncio.Task[None]] = deque()  # the last one waits for those before it
        self.marks: deque[Mark] = deque()

    async def next_block(self, length: int) -> memoryview:
        if not self._piece:
            piece = await asyncio.shield(self._ahead or self._fetch())
            self._ahead = self._fetch() if self._offset < self._item.source.size else None
            self._piece = memoryview(piece)
            await self._hash(self._piece)
        block, self._piece = self._piece[:length], self._piece[length:]
        return block

    def _fetch(self) -> asyncio.Task[bytes]:
        """Begin to read the next piece."""
        length = min(DISK_BLOCK, self._item.source.size - self._offset)
        work = asyncio.to_thread(self._item.source.read, self._offset, length)
        self._ahead = asyncio.create_task(work, name=f"read at {self._offset}")
        self._offset += length
        return self._ahead

    async def _hash(self, piece: memoryview) -> None:
        """Begin to hash a piece, once not too many wait for it."""
        before = self._hashing[-1] if self._hashing else None
        self._hashing.append(asyncio.create_task(self._hash_after(before, piece), name="hash"))
        while len(self._hashing) > HASHED_LATE:
            await asyncio.shield(self._hashing[0])
            del self._hashing[0]

    async def _hash_after(self, before: asyncio.Task[None] | None, piece: memoryview) -> None:
        if before is not None:
            await before
        self.marks.extend(await asyncio.to_thread(self._marks_of, piece))

    def _marks_of(self, piece: memoryview) -> list[Mark]:
        hashes, marks = self._item.hashes, []
        for begin in range(0, len(piece), MARK_EVERY):
            hashes.feed(piece[begin : begin + MARK_EVERY])
            marks.append(hashes.mark())
        return marks

    async def hashed(self) -> None:
        """Return when everything handed out is hashed."""
        if self._hashing:
            await asyncio.shield(self._hashing[-1])

    async def close(self) -> None:
        """Wait for what goes on in threads: the file is closed next."""
        left = [*self._hashing, *([self._ahead] if self._ahead is not None else [])]
        await asyncio.gather(*left, return_exceptions=True)


class DiskWriter:
    """Collects blocks and writes and hashes them in large pieces off the loop, one piece at a time."""

    def __init__(self, item: ReceiveItem) -> None:
        self._item = item
        self._flushed_at = time.monotonic()
        self._blocks: list[Data] = []
        self._amount = 0
        self._offset = item.offset
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def add(self, data: Data) -> None:
        self._blocks.append(data)
        self._amount += len(data)
        late = time.monotonic() - self._flushed_at >= DISK_WAIT_S
        busy = self._writing is not None and not self._writing.done()
        if self._amount >= DISK_BLOCK * 4 or (not busy and (late or self._amount >= DISK_BLOCK)):
            await self._flush()

    async def _flush(self) -> None:
        """Begin to write what there is, once the piece before is written."""
        async with self._turn:
            if self._writing is not None:
                await asyncio.shield(self._writing)
            if self._blocks:
                blocks, amount = self._blocks, self._amount
                self._blocks, self._amount = [], 0
                self._writing = asyncio.create_task(self._write(blocks, amount), name="write")
            self._flushed_at = time.monotonic()

    async def _write(self, blocks: list[Data], amount: int) -> None:
        self._item.done = await asyncio.to_thread(self._to_disk, self._offset, blocks)
        self._offset += amount
        self._item.sink(amount)

    def _to_disk(self, offset: int, blocks: list[Data]) -> Mark:
        self._item.target.write(offset, blocks)
        for block in blocks:
            self._item.hashes.feed(block)
        return self._item.hashes.mark()

    async def close(self) -> None:
        await self._flush()
        if self._writing is not None:
            await self._writing
