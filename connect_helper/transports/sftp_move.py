"""Moves the bytes of one file over every connection there is, with many requests on their way on each.

The file is handed out in blocks, in order, to whichever connection has room, so that a quick one takes more
than a slow one; towards the end a connection that would be last takes no more. Blocks may be confirmed in any
order, but `done` is always one place up to which everything is certain, and what lies between it and the
last block handed out is bounded. Every byte is counted here: asked for, come, confirmed. What sending and
receiving do differently stands in `sftp_sending` and `sftp_receiving`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import asyncssh

from connect_helper.errors import ChecksumMismatch, ConnectionLost, TransferError
from connect_helper.spec.names import display
from connect_helper.transports.base import BlockHashes, RateLimiter
from connect_helper.transports.error_map import Side
from connect_helper.transports.groups import first_error
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.proof import Proof
from connect_helper.transports.sftp_answers import Answer
from connect_helper.transports.sftp_files import RemoteFile
from connect_helper.transports.sftp_proof import proof_of
from connect_helper.transports.ssh_errors import remote_error
from connect_helper.wire.writer import Data

_log = logging.getLogger(__name__)

SPREAD: Final = 48 * 1024 * 1024  # bytes between what is certain and what is asked for, over all files
LEAST_SPREAD: Final = 4 * 1024 * 1024  # of one file
GRACE_S: Final = 0.25  # for connections that still wait for something when all has arrived
LATE_S: Final = 0.6  # a block everything waits for is moved once more after this long
LATE_ROUND_TRIPS: Final = 4
LATE_LOOK: Final = 64  # blocks looked at
COPIES: Final = 4  # of one block, at most


@dataclass(slots=True)
class Block:
    """A piece of the file on its way."""

    offset: int
    length: int
    data: Data  # what to write; nothing when reading
    asked_at: float = 0.0  # monotonic, of the last copy
    lanes: list[Lane] = field(default_factory=list)  # that a copy is on its way over, or has been


UnderWay = deque[tuple[Block, asyncio.Future[Answer]]]


class Move(ABC):
    """One file on its way over the connections: what sending and receiving have in common."""

    side: Side = "source"
    exists = True  # the file is there before it is opened

    def __init__(self, lanes: Lanes, limiter: RateLimiter, path: bytes, begin: int, end: int) -> None:
        self.lanes = lanes
        self.limiter = limiter
        self.path = path
        self.next = begin
        self.end = end
        self.certain = begin  # everything before it is
        self.again: deque[Block] = deque()  # of connections that broke
        self.pending: dict[int, Block] = {}  # by offset: handed out and not finished
        self._ways: dict[Lane, asyncio.Task[bool] | asyncio.Task[None]] = {}
        self._early: dict[Lane, asyncio.Task[bytes]] = {}  # openings that were not waited for
        self.first: Lane
        self._under_way: list[UnderWay] = []  # of each way
        self._handles: dict[Lane, bytes] = {}  # of each way
        self.proof: Proof | None = None
        self._turn = asyncio.Lock()  # blocks are handed out one after the other
        self.news = asyncio.Event()

    @asynccontextmanager
    async def opening(self, first: Lane) -> AsyncIterator[None]:
        """While the file is opened on `first`, open it on the others too: each round trip counts.

        Not a file that `first` is about to make: what others found there by then might be somebody else's.
        """
        self.first = first
        if self.exists and self.lanes.divides(self.end - self.next) and first.wire.keeps_order:
            for lane in self.lanes.all:
                if lane is not first:
                    self._early[lane] = asyncio.create_task(self.open(lane), name="early opening")
        try:
            yield
        finally:
            left, self._early = self._early, {}
            for task in left.values():
                task.cancel()  # what it opens is closed when the answer comes
            await asyncio.gather(*left.values(), return_exceptions=True)
            for lane, task in left.items():
                if not task.cancelled() and task.exception() is None:
                    lane.wire.close_soon(task.result())
            if self.proof is not None:
                await self.proof.close()

    async def run(self, handle: bytes, proof: asyncio.Task[None] | None = None) -> None:
        """Move everything; `handle` is the open file on the first connection.

        `proof` raises if it is not the file it should be.
        """
        first = self.first
        if self.proof is not None:
            self.proof.reach(self.certain)  # of an earlier session
        if not self.lanes.divides(self.end - self.next):
            await self._way(first, handle, proof)
            return
        self.lanes.bytes_left += self.end - self.next
        self.lanes.moves += 1
        last = self.next
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._ways[first] = group.create_task(self._way(first, handle, proof), name="first way")
                while self.unfinished:
                    last = self._count(last)
                    for lane in self.lanes.all:
                        if lane not in self._ways and self.next < self.end:
                            self._ways[lane] = group.create_task(self._further(lane), name="way")
                    await self._any_news()
                await self._release(first)
        except BaseExceptionGroup as group_error:
            failure = first_error(group_error)
        finally:
            self.lanes.bytes_left -= self.end - last
            self.lanes.moves -= 1
            self.forget()
        if failure is not None:
            try:
                raise failure  # with its own cause, which says more than the group
            finally:
                del failure  # it refers to this call, and this call to it

    async def proved(self, hashes: BlockHashes, file: RemoteFile) -> bool:
        """Tell whether the server has what was hashed here; False: it tells nothing.

        Raises ChecksumMismatch.
        """
        if self.proof is None:
            return False
        try:
            return await self.proof.holds(hashes)
        except ChecksumMismatch:
            # Of several machines behind one address, one may not see yet what another has written.
            _log.info("%s is compared once more, where it was moved", display(self.path))
            if not await self._proved_over(file, hashes):
                raise
            return True

    async def _proved_over(self, file: RemoteFile, hashes: BlockHashes) -> bool:
        await self.flush(file)
        proof = proof_of(self.lanes, self.path, self.side, self.end, hashes, over=file.lane)
        if proof is None:
            return False
        try:
            return await proof.holds(hashes)
        finally:
            await proof.close()

    def forget(self) -> None:
        """Let go of all blocks."""
        self.pending.clear()
        self.again.clear()

    @property
    def _spread(self) -> int:
        return max(LEAST_SPREAD, SPREAD // max(1, self.lanes.moves))

    async def _release(self, first: Lane) -> None:
        """Everything has arrived: nobody need wait for second copies of it, nor for a silent connection."""
        for under_way in self._under_way:
            if under_way:
                under_way[0][1].cancel()
        others = {task: lane for lane, task in self._ways.items() if lane is not first}
        if not others:
            return
        _, late = await asyncio.wait(others, timeout=GRACE_S + LATE_ROUND_TRIPS * first.round_trip_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for task in late:
            if not others[task].users:  # what it still has to say would only be in the way
                self.lanes.drop(others[task])

    def _count(self, last: int) -> int:
        self.lanes.bytes_left -= self.certain - last
        return self.certain

    @property
    def unfinished(self) -> bool:
        return self.certain < self.end

    async def _any_news(self) -> None:
        """Wait for another connection, a returned block or the end; 50 ms are no news either."""
        self.news.clear()
        try:
            async with asyncio.timeout(0.05):
                await self.news.wait()
        except TimeoutError:
            return

    async def _further(self, lane: Lane) -> None:
        try:
            early = self._early.pop(lane, None)
            handle = await (self.open(lane) if early is None else early)
        except ConnectionLost:
            self.lanes.lost(lane)
            return
        except TransferError as error:
            _useless(lane, error)
            return
        proof = asyncio.create_task(self.check(lane, handle), name="same file")
        is_open = True
        try:
            if self.side == "target":  # the file is looked at before anything of ours is in it
                await asyncio.wait([proof])
            clean = await self._way(lane, handle, proof)
            is_open = False
            await self.close_handle(lane, handle, clean)
        except ConnectionLost:
            self.lanes.lost(lane)
        finally:
            if is_open:
                lane.wire.close_soon(handle)
            proof.cancel()
            await asyncio.gather(proof, return_exceptions=True)

    async def _way(self, lane: Lane, handle: bytes, proof: asyncio.Task[None] | None = None) -> bool:
        """Blocks over one connection, until there are no more; nothing counts before `proof` is there.

        Tells whether nothing of it is on its way any more.
        """
        under_way: UnderWay = deque()
        self._under_way.append(under_way)
        self._handles[lane] = handle
        lane.users += 1
        try:
            while self.unfinished:
                if proof is not None and proof.done():
                    await proof
                    proof = None
                if self._may_start(lane, under_way) and (block := await self._take(lane)) is not None:
                    await self._start(lane, handle, block, under_way)
                elif proof is not None:
                    await asyncio.wait([proof])
                elif (late := self._late(lane)) is not None:
                    await self._start(lane, handle, late, under_way)
                else:
                    if self._is_all_asked:
                        self.all_asked(lane, handle)
                    if under_way:
                        await self._oldest(lane, handle, under_way)
                    else:
                        await self._any_news()
        except TransferError as error:
            self.again.extend(block for block, _ in under_way)
            further = lane is not self.first
            if further and proof is not None and not isinstance(error, ConnectionLost):
                _useless(lane, error)
            else:
                raise
        finally:
            lane.users -= 1
            del self._handles[lane]
            for block, answer in under_way:
                lane.on_way -= block.length
                answer.cancel()
            self.news.set()
        return not under_way

    @property
    def _is_all_asked(self) -> bool:
        return self.next >= self.end and not self.again

    def _may_start(self, lane: Lane, under_way: UnderWay) -> bool:
        """Tell whether to start another block rather than look at the oldest.

        An answer that is there goes first, or a rate limit, which makes each start wait, would hide how far
        things are.
        """
        if under_way and under_way[0][1].done():
            return False
        if not self.lanes.has_room(lane):
            return False
        if self.again:
            return True
        if self.next >= self.end or self.next - self.certain >= self._spread:
            return False
        return lane.on_way == 0 or len(self._ways) == 1 or not self._would_be_last(lane)

    def _would_be_last(self, lane: Lane) -> bool:
        rates = sum(one.window.rate for one in self._ways)
        return lane.window.rate > 0 and lane.backlog_s > 0.2 + 2 * (self.end - self.certain) / max(rates, 1.0)

    def _late(self, lane: Lane) -> Block | None:
        """A block everything waits for, to be moved over `lane` too; whichever copy comes first counts.

        Late is what a stalled connection holds, and what takes much longer than an answer does. The first
        connection, over which the end of the file is settled, takes no copies.
        """
        waits = self.next >= self.end or self.next - self.certain >= self._spread
        if not waits or lane is self.lanes.first or not self.lanes.has_room(lane):
            return None
        before = time.monotonic() - max(LATE_S, LATE_ROUND_TRIPS * lane.round_trip_s)
        for block in islice(self.pending.values(), LATE_LOOK):
            if lane in block.lanes or len(block.lanes) == COPIES:
                continue
            if block.asked_at < before or all(one.is_stalled for one in block.lanes):
                return block
        return None

    async def _take(self, lane: Lane) -> Block | None:
        async with self._turn:
            while self.again:
                block = self.again.popleft()
                if block.offset in self.pending:
                    return block
            if self.next >= self.end:
                return None
            wanted = lane.window.block(self.limiter.block_limit())
            block = await self.take(min(wanted, self.end - self.next))
            self.next += block.length
            self.pending[block.offset] = block
            return block

    async def _start(self, lane: Lane, handle: bytes, block: Block, under_way: UnderWay) -> None:
        try:
            await self.limiter.take(block.length)
            lane.asked()
            if not lane.on_way:
                lane.window.begin()
            block.asked_at = time.monotonic()
            block.lanes.append(lane)
            answer = self.ask(lane, handle, block)
        except asyncssh.Error as error:
            self.again.append(block)
            raise remote_error(error, self.side, self.path) from error
        except BaseException:
            self.again.append(block)
            raise
        under_way.append((block, answer))
        lane.on_way += block.length
        if self._is_all_asked:  # the others are waiting for answers, and would hear of it a round trip later
            for one, its_handle in self._handles.items():
                self.all_asked(one, its_handle)

    async def _oldest(self, lane: Lane, handle: bytes, under_way: UnderWay) -> None:
        block, answer = under_way[0]
        await self.lanes.more_room(lane, answer)
        if not answer.done() and self._may_start(lane, under_way):
            return
        try:
            data = await answer
            if block.offset in self.pending:
                await self.finish(lane, handle, block, data)
                if self.proof is not None:
                    self.proof.reach(self.certain)
                if not self.unfinished:
                    self.news.set()
        except asyncio.CancelledError:
            if self._is_over(answer):
                return
            raise
        except (asyncssh.Error, OSError, ValueError) as error:
            raise remote_error(error, self.side, self.path) from error
        under_way.popleft()
        lane.on_way -= block.length
        lane.moved += block.length
        lane.window.answered(block.length, last=not lane.on_way)
        now = time.monotonic()
        self.lanes.line.answered(now - block.asked_at, now)

    def _is_over(self, answer: asyncio.Future[Answer]) -> bool:
        """Tell whether only a wait for a needless answer was cancelled, and not its task."""
        task = asyncio.current_task()
        return answer.cancelled() and not self.unfinished and not (task and task.cancelling())

    # What differs ----------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, lane: Lane) -> bytes:
        """A handle of the file for a further connection."""

    @abstractmethod
    async def check(self, lane: Lane, handle: bytes) -> None:
        """Raise a TransferError when a further connection shows another file."""

    @abstractmethod
    def all_asked(self, lane: Lane, handle: bytes) -> None:
        """Nothing is left for `lane` but to wait; told more than once, and perhaps too soon."""

    @abstractmethod
    async def flush(self, file: RemoteFile) -> None:
        """Have what was written where every machine of the server sees it."""

    @abstractmethod
    async def close_handle(self, lane: Lane, handle: bytes, clean: bool) -> None:
        """Give a further connection's handle back; `clean`: nothing of it is on its way any more."""

    @abstractmethod
    async def take(self, length: int) -> Block:
        """The block at `next`."""

    @abstractmethod
    def ask(self, lane: Lane, handle: bytes, block: Block) -> asyncio.Future[Answer]:
        """Send the request for a block."""

    @abstractmethod
    async def finish(self, lane: Lane, handle: bytes, block: Block, answer: Answer) -> None:
        """Note what a block's answer means, and that it is no longer pending."""


def _useless(lane: Lane, error: TransferError) -> None:
    """A connection shows another file system, or nothing at all: this file goes without it."""
    lane.is_elsewhere = True
    _log.info("a further connection is of no use: %s", error.internal_message)
