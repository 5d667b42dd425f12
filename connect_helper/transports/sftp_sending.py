"""Sends one file: a small one at once, a large one in blocks over every connection there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

import asyncssh

from connect_helper.errors import ConnectionLost, DiskFull, TargetError
from connect_helper.spec.names import display
from connect_helper.transports.base import Mark, RateLimiter, SendItem
from connect_helper.transports.disk_ends import DiskReader
from connect_helper.transports.lane import LARGEST_BLOCK, Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_answers import Answer, Attrs, done, handle_of, looked
from connect_helper.transports.sftp_files import SMALL, RemoteFile, open_file, open_handle
from connect_helper.transports.sftp_move import Block, Move
from connect_helper.transports.sftp_proof import proof_of, same_digest
from connect_helper.transports.sftp_scan import facts_of
from connect_helper.transports.sftp_settling import Settling
from connect_helper.transports.ssh_errors import remote_error

SAME_FILE_S: Final = 5  # between the times two connections tell of a file that is being written
FAR_S: Final = 0.02  # a round trip that is worth being saved
BEHIND_ROUND_TRIPS: Final = 1  # how long the answers behind the last ones are waited for
COPY_S: Final = 0.1  # how long copies nobody needs any more may take, or
COPY_ROUND_TRIPS: Final = 1.5

_WRITE: Final = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
_FRESH: Final = _WRITE | asyncssh.FXF_TRUNC | asyncssh.FXF_EXCL
_SECOND: Final = 1_000_000_000  # ns


async def send_file(lanes: Lanes, limiter: RateLimiter, item: SendItem, settling: Settling) -> None:
    """As `Transport.send`."""
    lane = lanes.only_lane_for(item.source.size)
    if item.exclusive and not item.offset and item.source.size <= min(lane.largest_write, SMALL):
        await _send_at_once(lanes, limiter, lane, item)
        return
    await settling.over(item.partial)  # of an earlier try
    flags = _FRESH if item.exclusive else _WRITE
    item.done = item.hashes.mark()
    moving, lane = Sending(lanes, limiter, item), lanes.lane_for(item.source.size)
    async with moving.opening(lane), open_file(lanes, lane, item.partial, flags, "target") as file:
        if not item.exclusive:
            await file.call(file.wire.resize(file.handle, item.offset))
        try:
            await moving.run(file.handle)
            await moving.hashed()
            attrs = await moving.durable()
            item.proved = await moving.proved(item.hashes, file)
            if attrs is None:
                await _settle(file, item)
            else:
                settling.begin(file, _seconds(item.times))
                item.arrived, item.times = facts_of(attrs), None
        except TargetError as error:
            raise await _full_or(lanes, error, item) from error
        finally:
            await moving.close()


async def _send_at_once(lanes: Lanes, limiter: RateLimiter, lane: Lane, item: SendItem) -> None:
    """A small file, with everything behind the opening on its way together."""
    size = item.source.size
    lane.users += 1
    lane.small += size
    try:
        data = item.source.held
        if data is None:
            data = await asyncio.to_thread(_read_all, item)
        elif item.hashes.asked_for:  # small enough to be hashed here
            item.hashes.feed(data)
        handle = await open_handle(lanes, lane, item.partial, _FRESH, "target")
        await limiter.take(len(data))
        try:
            checks = not item.hashes.asked_for
            writing = lane.wire.write_out(handle, data, _seconds(item.times), checks=checks)
            attrs, told = await lane.call(writing, "target", item.partial)
        except TargetError as error:
            raise await _full_or(lanes, error, item) from error
    finally:
        lane.users -= 1
        lane.small -= size
    lane.moved += len(data)
    item.proved = same_digest(item.partial, data, told)
    item.arrived, item.times = facts_of(attrs), None
    item.done = item.hashes.mark()  # nothing, where it was not hashed: nobody goes on with so small a file
    item.sink(len(data))


def _read_all(item: SendItem) -> bytes:
    data = item.source.read(0, item.source.size)
    if item.hashes.asked_for:
        item.hashes.feed(data)
    return data


async def _full_or(lanes: Lanes, error: TargetError, item: SendItem) -> TargetError:
    """Servers of version 3 call a full disk "failure"; ask for the space to name it."""
    if not isinstance(error.__cause__, asyncssh.SFTPFailure):
        return error
    folder = item.partial.rpartition(b"/")[0] or (b"/" if item.partial.startswith(b"/") else b".")
    try:
        space = await lanes.call(lambda wire: wire.space(folder), "target", folder)
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


async def _settle(file: RemoteFile, item: SendItem) -> None:
    """Everything is confirmed: set the times, make it durable, look at it and close it."""
    try:
        attrs = await file.last(file.wire.settle(file.handle, times=_seconds(item.times)))
    except TargetError:
        item.done = Mark()  # what the server shows from here on need not be on its disk (REL-11)
        raise
    item.arrived, item.times = facts_of(attrs), None


async def _sync(file: RemoteFile) -> None:
    done(await file.wire.start_sync(file.handle))


def _seconds(times_ns: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if times_ns is None else (times_ns[0] // _SECOND, times_ns[1] // _SECOND)


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


@dataclass(frozen=True, slots=True)
class _Behind:
    """What one connection is asked behind its last write, while the answer to that is on its way."""

    writes: int  # asked for before
    syncing: asyncio.Future[Answer]
    looking: asyncio.Future[Answer]


class Sending(Move):
    """`item.source` from `item.offset` to its end, into the partial file."""

    side = "target"

    def __init__(self, lanes: Lanes, limiter: RateLimiter, item: SendItem) -> None:
        super().__init__(lanes, limiter, item.partial, item.offset, item.source.size)
        self._item = item
        self._disk = DiskReader(item)
        self.proof = proof_of(lanes, item.partial, self.side, item.source.size, item.hashes)
        self.exists = not item.exclusive
        self._prefix = _Prefix(item.offset)
        self._looks: dict[Lane, _Looks] = {}
        self._writes: Counter[Lane] = Counter()
        self._behind: dict[Lane, _Behind] = {}

    async def take(self, length: int) -> Block:
        data = await self._disk.next_block(length)
        return Block(self.next, len(data), data)

    def ask(self, lane: Lane, handle: bytes, block: Block) -> asyncio.Future[Answer]:
        self._writes[lane] += 1
        return lane.wire.start_write(handle, block.offset, block.data)

    async def finish(self, lane: Lane, handle: bytes, block: Block, answer: Answer) -> None:
        done(answer)
        del self.pending[block.offset]
        before, self.certain = self.certain, self._prefix.add(block.offset, block.length)
        self._note()
        if self.certain > before:  # what lies behind a gap would have to be sent again
            self._item.sink(self.certain - before)

    def all_asked(self, lane: Lane, handle: bytes) -> None:
        """Have it durable behind the last write: to ask once all is confirmed costs one more round trip.

        Each connection says so of what it wrote itself, before.
        """
        writes, behind = self._writes[lane], self._behind.get(lane)
        if not writes or (behind is not None and behind.writes == writes):
            return
        wire = lane.wire
        if not (wire.makes_durable and wire.keeps_order) or lane.round_trip_s < FAR_S:
            return
        try:
            behind = _Behind(writes, wire.start_sync(handle), wire.start_look(handle))
        except asyncssh.Error:
            return  # it is lost, and who waits for its answers hears of it
        for answer in (behind.syncing, behind.looking):
            answer.add_done_callback(lambda one: one.cancelled() or one.exception())
        self._behind[lane] = behind

    async def durable(self) -> Attrs | None:
        """What the server says about the whole file, if it told already that all is durable.

        None: it is to be asked. Raises TargetError.
        """
        behind = [self._behind.get(lane) for lane in self._writes]
        told = [one for one in behind if one is not None]
        if not told or [one.writes for one in told] != list(self._writes.values()):
            return None  # nothing was left to write, or one has written since, or was never asked
        answers = [answer for one in told for answer in (one.syncing, one.looking)]
        _, late = await asyncio.wait(answers, timeout=BEHIND_ROUND_TRIPS * self.first.round_trip_s)
        if late:
            return None
        try:
            for one in told:
                done(one.syncing.result())
            looks = [looked(one.looking.result()) for one in told]
        except (asyncssh.Error, OSError, ValueError) as error:
            failure = remote_error(error, self.side, self.path)
            if isinstance(failure, ConnectionLost):
                return None
            self._item.done = Mark()  # what the server shows from here on need not be on its disk (REL-11)
            raise failure from error
        return next((look for look in looks if look.size == self.end), None)

    def _note(self) -> None:
        """How far a later session can go on: what is certain to have arrived, as far as it is hashed."""
        marks = self._disk.marks
        while marks and marks[0].offset <= self.certain:
            self._item.done = marks.popleft()

    async def hashed(self) -> None:
        """Return when everything that was sent is hashed."""
        await self._disk.hashed()
        self._note()

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

    async def flush(self, file: RemoteFile) -> None:
        if not file.wire.makes_durable:
            return
        try:
            await file.call(_sync(file))
        except TargetError:
            self._item.done = Mark()  # as in `_settle`
            raise

    async def close_handle(self, lane: Lane, handle: bytes, clean: bool) -> None:
        if clean:
            lane.wire.close_soon(handle)
            return
        # A second copy of a block must not be written behind the back of what comes next.
        asking = lane.call(lane.wire.close(handle), "target", self.path)
        closing = asyncio.create_task(asking, name="closing behind copies")
        try:
            if lane is not self.lanes.first:
                await asyncio.wait([closing], timeout=max(COPY_S, COPY_ROUND_TRIPS * lane.round_trip_s))
                if not closing.done() and not lane.users:  # another file may have come to it meanwhile
                    self.lanes.drop(lane)  # what is left of the copy goes down with it
                    return
            await closing
        finally:
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)

    async def close(self) -> None:
        await self._disk.close()
