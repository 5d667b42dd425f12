"""Brings the parts of one file that arrive side by side into the local file, each byte in its turn.

So hashes are fed in order and what is done is one place without gaps, as with a single connection. What waits
for its turn is kept in memory, and is bounded. While one batch is written and hashed in a thread, the next
comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from connect_helper.transports.base import Mark, ReceiveItem
from connect_helper.transports.http_proof import WholeDigest
from connect_helper.transports.proof import Proof


class Part:
    """A stretch of the file that one request brings. `held` are bytes arrived and not written."""

    __slots__ = ("arrived", "held", "length", "offset", "pieces", "written")

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length
        self.arrived = 0
        self.written = 0
        self.held = 0
        self.pieces: list[bytes | memoryview] = []


class InOrder:
    """Hands out the parts of `item` and writes them; `batch` tells how many bytes to write at once.

    It begins behind what of the item is done. `proof` hears how far they have come, and `whole` of all
    that is written.
    """

    def __init__(
        self,
        item: ReceiveItem,
        batch: Callable[[], int],
        *,
        proof: Proof | None = None,
        whole: WholeDigest | None = None,
    ) -> None:
        self._item = item
        self._batch = batch
        self._proof = proof
        self._whole = whole
        self._parts: deque[Part] = deque()  # handed out and not written whole
        self._next = max(item.offset, item.done.offset)
        self._turn = asyncio.Lock()  # to hand something to the thread
        self._writing: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def part(self, size: int, ahead: int) -> Part | None:
        """The next part, of `size` bytes at most; None when all are handed out.

        Waits while `ahead` bytes or more are handed out and not written.
        """
        while self._next < self._item.size:
            begin = self._parts[0].offset if self._parts else self._next
            if self._next - begin < ahead:
                part = Part(self._next, min(size, self._item.size - self._next))
                self._next += part.length
                self._parts.append(part)
                return part
            self._moved.clear()
            await self._moved.wait()
        return None

    @property
    def left(self) -> int:
        """Bytes not handed out."""
        return self._item.size - self._next

    @property
    def missing(self) -> int:
        """Bytes that have not arrived."""
        return self.left + sum(part.length - part.arrived for part in self._parts)

    async def add(self, part: Part, piece: bytes | memoryview) -> None:
        """Take the next bytes of a part; they must not be more than it has."""
        part.pieces.append(piece)
        part.held += len(piece)
        part.arrived += len(piece)
        if part is self._parts[0] and (part.held >= self._batch() or part.arrived == part.length):
            await self._write_next()

    async def flush(self) -> None:
        """Write what is next in turn and has arrived, and wait until it is written."""
        await self._write_next()
        await self._written()

    async def settle(self) -> None:
        """Wait for what is being written, however often we are cancelled: a thread cannot be stopped.

        How it went is in `item.done`.
        """
        cancelled: asyncio.CancelledError | None = None
        while self._writing is not None and not self._writing.done():
            try:
                await asyncio.wait([self._writing])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _write_next(self) -> None:
        async with self._turn:
            while self._parts:
                head = self._parts[0]
                if head.held:
                    await self._write(head)
                if head.written == head.length:
                    self._parts.popleft()
                    self._moved.set()
                elif head.arrived < head.length:
                    return

    async def _write(self, part: Part) -> None:
        await self._written()
        pieces, amount = part.pieces, part.held
        part.pieces, part.held = [], 0
        at = part.offset + part.written
        part.written += amount
        self._writing = asyncio.create_task(self._put(at, pieces, amount), name="write")

    async def _put(self, at: int, pieces: list[bytes | memoryview], amount: int) -> None:
        self._item.done = await asyncio.to_thread(_write, self._item, at, pieces, self._whole)
        self._item.sink(amount)
        if self._proof is not None:
            self._proof.reach(self._item.done.offset)

    async def _written(self) -> None:
        """Wait for the write before; raises what it raised, again and again: nothing may follow it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)


def _write(item: ReceiveItem, at: int, pieces: list[bytes | memoryview], whole: WholeDigest | None) -> Mark:
    item.target.write(at, pieces)
    for piece in pieces:
        item.hashes.feed(piece)
        if whole is not None:
            whole.feed(piece)
    return item.hashes.mark()
