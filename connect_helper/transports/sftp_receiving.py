"""Receives one file: a small one at once, a large one in blocks over every connection there is."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncssh

from connect_helper.errors import ChecksumMismatch, ContentError, SourceChanged, TransferError
from connect_helper.spec.names import display
from connect_helper.transports.base import Mark, RateLimiter, ReceiveItem
from connect_helper.transports.disk_ends import DiskWriter
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_answers import Answer, data_of
from connect_helper.transports.sftp_files import SMALL, RemoteFile, open_file, open_handle
from connect_helper.transports.sftp_move import Block, Move
from connect_helper.transports.sftp_proof import proof_of, same_digest
from connect_helper.transports.sftp_scan import facts_of
from connect_helper.wire.writer import Data


async def receive_file(lanes: Lanes, limiter: RateLimiter, item: ReceiveItem) -> None:
    """As `Transport.receive`."""
    item.done = item.hashes.mark()
    lane = lanes.only_lane_for(item.size)
    if not item.offset and item.size < min(lane.largest_read, SMALL):
        if await _receive_at_once(lanes, limiter, lane, item):
            return
        item.done = item.hashes.mark()
    moving, lane = Receiving(lanes, limiter, item), lanes.lane_for(item.size)
    async with moving.opening(lane), open_file(lanes, lane, item.path, asyncssh.FXF_READ, "source") as file:
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
        try:
            item.proved = await moving.proved(item.hashes, file)
        except ChecksumMismatch as error:  # of what has the name now
            looking = lanes.call(lambda wire: wire.stat(item.path, follow=True), "source", item.path)
            now = facts_of(await looking)
            if (now.size, now.mtime_ns) != (item.size, item.mtime_ns):
                raise changed(item) from error
            raise


async def _receive_at_once(lanes: Lanes, limiter: RateLimiter, lane: Lane, item: ReceiveItem) -> bool:
    """A small file, with everything behind the opening on its way together.

    False when the server answers with less than there is: it has to be asked piece by piece.
    """
    lane.users += 1
    lane.small += item.size
    try:
        handle = await open_handle(lanes, lane, item.path, asyncssh.FXF_READ, "source")
        await limiter.take(item.size)
        # One byte more than there should be: a file that has grown shows.
        checks = 0 if item.hashes.asked_for else item.size
        reading = lane.wire.read_in(handle, item.size + 1, checks=checks)
        before, data, after, told = await lane.call(reading, "source", item.path)
    finally:
        lane.users -= 1
        lane.small -= item.size
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
    item.proved = same_digest(item.path, data, told)
    if item.writes_itself:
        item.content = data
    else:
        item.done = await asyncio.to_thread(_write_all, item, data)
    lane.moved += len(data)
    item.sink(len(data))
    return True


def _write_all(item: ReceiveItem, data: Data) -> Mark:
    item.target.write(0, [data])
    item.hashes.feed(data)
    return item.hashes.mark()


class Receiving(Move):
    """`item.path` from `item.offset` to `item.size`, into the target."""

    def __init__(self, lanes: Lanes, limiter: RateLimiter, item: ReceiveItem) -> None:
        super().__init__(lanes, limiter, item.path, item.offset, item.size)
        self._item = item
        self._disk = DiskWriter(item)
        self.proof = proof_of(lanes, item.path, self.side, item.size, item.hashes)
        self._beyond: dict[int, Data] = {}  # came before what lies before them

    async def take(self, length: int) -> Block:
        return Block(self.next, length, b"")

    def ask(self, lane: Lane, handle: bytes, block: Block) -> asyncio.Future[Answer]:
        return lane.wire.start_read(handle, block.offset, block.length)

    async def finish(self, lane: Lane, handle: bytes, block: Block, answer: Answer) -> None:
        data = data_of(answer)
        while len(data) < block.length:  # a server may answer with fewer and has to be asked again
            rest = lane.wire.start_read(handle, block.offset + len(data), block.length - len(data))
            more = data_of(await rest)
            if not more:
                raise changed(self._item)
            data = b"".join((data, more))
        if len(data) > block.length:
            raise ContentError(f"The server sent more of {display(self.path)} than it was asked for.")
        if self.pending.pop(block.offset, None) is None:
            return  # another copy came while the rest of this one was asked for
        self._beyond[block.offset] = data
        while data := self._beyond.pop(self.certain, b""):
            self.certain += len(data)
            await self._disk.add(data)

    async def open(self, lane: Lane) -> bytes:
        return await lane.call(lane.wire.open_file(self.path, asyncssh.FXF_READ), "source", self.path)

    async def check(self, lane: Lane, handle: bytes) -> None:
        await unchanged(lane, handle, self._item)

    def all_asked(self, lane: Lane, handle: bytes) -> None:
        return None  # nothing is to be said behind what is read

    async def flush(self, file: RemoteFile) -> None:
        return  # nothing was written there

    async def close_handle(self, lane: Lane, handle: bytes, clean: bool) -> None:
        lane.wire.close_soon(handle)  # its answer may stand behind data nobody waits for any more

    def forget(self) -> None:
        super().forget()
        self._beyond.clear()

    async def close(self) -> None:
        """Write what has come; also when fetching broke off."""
        await self._disk.close()


async def unchanged(lane: Lane, handle: bytes, item: ReceiveItem) -> None:
    """Raise SourceChanged when the open file is not the one the item is about."""
    facts = facts_of(await lane.call(lane.wire.fstat(handle), "source", item.path))
    if (facts.size, facts.mtime_ns) != (item.size, item.mtime_ns):
        raise changed(item)


def changed(item: ReceiveItem) -> SourceChanged:
    return SourceChanged(f"{display(item.path)} changed on the server while it was read; start again.")
