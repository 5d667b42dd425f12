"""The body of a request to an open file: in large writes off the loop, hashed on the way.

One write runs in a thread while the next bytes gather; no more than those two batches are held, fewer bytes
where many bodies run, and none for long where nothing follows. A body that
brings no byte for too long, or next to none, is given up, and so is one whose upload another request wants.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from aiohttp import ClientError

from connect_helper.server.http.threads import until_done
from connect_helper.spec.block_hash import Hash
from connect_helper.storage.file_data import sync_data
from connect_helper.wire.batches import Stream

BATCH: Final = 512 * 1024  # bytes gathered for one write
LARGEST_BATCH: Final = 4 * 1024 * 1024  # of a fast sender: a thread's turn is not free
GATHERED: Final = 64 * 1024 * 1024  # bytes that the batches of all bodies have, as far as each may have
LEAST_BATCH: Final = 32 * 1024
QUIET_S: Final = 1.0  # after which what is gathered is written, though it is no batch
QUICK_S: Final = 0.05  # a batch that came so fast is followed by a larger one
VECTORS: Final = 512  # pieces in one write; the system takes 1024
SLOWEST_BYTES: Final = 4096  # what must come at least within one idle limit
SYNC_EVERY: Final = 64 * 1024 * 1024  # bytes after which the disk is asked to confirm

Pace = Callable[[int], Awaitable[None]]


class End(Enum):
    """Why reading a body stopped."""

    WHOLE = "the body ended"
    TOO_LONG = "more bytes came than were promised"
    STALLED = "the client stopped sending"
    WANTED = "another request took over"
    LOST = "the line broke"


class Progress(Protocol):
    """Is told how far the file is, and how far the disk has confirmed it, in bytes."""

    async def __call__(self, offset: int, synced: int) -> None: ...


@dataclass(slots=True)
class Destination:
    """An open file that grows at `offset`; every hash in `hashes` is fed what is written.

    `keep_free` is the part of the disk that stays free, 0 to 1.
    """

    handle: int
    offset: int
    synced: int
    hashes: tuple[Hash, ...] = ()
    keep_free: float = 0.0
    _look_at: int = 0  # bytes; from there on the disk is looked at again

    def write(self, pieces: list[bytes]) -> None:
        """Write all pieces; blocking. Syncs now and then so that a crash costs little.

        Raises OSError, ENOSPC also while there is still room for everybody else (REL-10).
        """
        self._check_space(sum(map(len, pieces)))
        for digest in self.hashes:
            for piece in pieces:
                digest.update(piece)
        views = [memoryview(piece) for piece in pieces]
        while views:
            written = os.pwritev(self.handle, views[:VECTORS], self.offset)
            self.offset += written
            views = _rest(views, written)
        if self.offset - self.synced >= SYNC_EVERY:
            self.sync()

    def _check_space(self, size: int) -> None:
        if not self.keep_free or self.offset < self._look_at:
            return
        check_space(self.handle, size, self.keep_free)
        self._look_at = self.offset + SYNC_EVERY

    def sync(self) -> None:
        """Have the disk confirm what was written; blocking. A failure is data loss and is raised."""
        if self.synced != self.offset:
            sync_data(self.handle)
            self.synced = self.offset


def check_space(handle: int, size: int, keep_free: float) -> None:
    """Raise OSError (ENOSPC) when `size` more bytes leave less than `keep_free` of the disk, 0 to 1."""
    space = os.fstatvfs(handle)
    if space.f_bavail - size / space.f_frsize < space.f_blocks * keep_free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _rest(views: list[memoryview], written: int) -> list[memoryview]:
    for index, view in enumerate(views):
        if written < len(view):
            return [view[written:], *views[index + 1 :]]
        written -= len(view)
    return []


@dataclass(slots=True)
class Share:
    """What bodies that run at the same time share: the bytes they may gather."""

    running: int = 0

    @property
    def batch(self) -> int:
        """Bytes that one body may gather."""
        return max(GATHERED // max(self.running, 1), LEAST_BATCH)


class Receiver:
    """Reads one body into one destination."""

    def __init__(
        self,
        body: Stream,
        destination: Destination,
        *,
        disk: Executor,
        pace: Pace,
        idle_s: float,
        share: Share | None = None,
    ) -> None:
        self._body = body
        self._destination = destination
        self._disk = disk
        self._pace = pace
        self._idle_s = idle_s
        self._share = share or Share()
        self._gathered: list[bytes] = []
        self._size = 0  # bytes gathered
        self._batch = BATCH
        self._batch_began = 0.0
        self._writing: asyncio.Future[None] | None = None
        self._reading: asyncio.Timeout | None = None
        self._waits_since: float | None = None  # for bytes of the client
        self._looking: asyncio.TimerHandle | None = None
        self._wanted = False

    def let_go(self) -> None:
        """Have `run` end soon, because another request wants the upload."""
        self._wanted = True
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(self._clock())

    async def run(self, limit: int, tell: Progress) -> End:
        """Take at most `limit` bytes; all of them are written when this returns, however it ends.

        Raises OSError when the disk fails. Bytes past the limit are not written.
        """
        self._share.running += 1
        self._look()
        try:
            async with asyncio.timeout(None) as self._reading:
                end = await self._read(limit, tell)
        except TimeoutError:
            end = End.WANTED if self._wanted else End.STALLED
        except (ClientError, ConnectionError, asyncio.IncompleteReadError):
            end = End.LOST
        finally:
            self._reading = None  # over: another request that wants the upload waits for the disk alone
            self._waits_since = None
            if self._looking is not None:
                self._looking.cancel()
            self._share.running -= 1
            await self._flush()
        return end

    async def _read(self, limit: int, tell: Progress) -> End:
        left, now = limit, self._clock()
        due, seen = now + self._idle_s, 0  # bytes since `due` was set
        self._wake_at(due)
        while True:
            self._waits_since = now
            piece = await self._body.readany()
            self._waits_since = None
            if not piece:
                return End.WHOLE
            if len(piece) > left:
                return End.TOO_LONG
            left -= len(piece)
            seen += len(piece)
            amount = len(piece)
            await self._gather(piece, tell)
            del piece  # it would be kept until the next one comes
            self._wake_at(None)  # our own throttling is not the client's silence
            began = self._clock()
            await self._pace(amount)
            if self._wanted:
                return End.WANTED
            now = self._clock()
            due += now - began
            if seen >= SLOWEST_BYTES:
                due, seen = now + self._idle_s, 0
            self._wake_at(due)

    async def _gather(self, piece: bytes, tell: Progress) -> None:
        self._gathered.append(piece)
        self._size += len(piece)
        if self._size >= min(self._batch, self._share.batch) or len(self._gathered) >= VECTORS:
            await self._start_write()
            await tell(self._destination.offset, self._destination.synced)

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

    def _wake_at(self, when: float | None) -> None:
        if self._reading is not None and not self._wanted:
            self._reading.reschedule(when)

    async def _start_write(self) -> None:
        await self._written()
        self._begin_write()

    def _begin_write(self) -> None:
        pieces, self._gathered, self._size = self._gathered, [], 0
        now = self._clock()
        quick = now - self._batch_began < QUICK_S
        self._batch = min(self._batch * 2, LARGEST_BATCH) if quick else BATCH
        self._batch_began = now
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._disk, self._destination.write, pieces)

    def _look(self) -> None:
        """Now and then: let a client that pauses have its bytes on our disk and not in our memory."""
        waits_since, at_work = self._waits_since, self._writing is not None and not self._writing.done()
        if self._gathered and not at_work and waits_since is not None:
            failed = self._writing is not None and self._writing.exception() is not None
            # What has failed is raised to who reads; nothing may be written after it.
            if not failed and self._clock() - waits_since >= QUIET_S:
                self._begin_write()
        self._looking = asyncio.get_running_loop().call_later(QUIET_S, self._look)

    async def _written(self) -> None:
        if self._writing is None:
            return
        await until_done(self._writing)  # broken off here, `_flush` asks again how it went
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except OSError:
            self._gathered, self._size = [], 0  # they must not land where the failed ones should be
            raise

    async def _flush(self) -> None:
        await self._written()
        if self._gathered:
            await self._start_write()
            await self._written()
