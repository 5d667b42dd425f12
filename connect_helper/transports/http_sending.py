"""Sends one file as uploads of a server: over one connection, or parts side by side where that is quicker.

Hashes need the bytes in their order. What goes out in one stream is hashed as it is read. Parts go in any
order: there, what is confirmed without a gap is read again (the system has it in memory still) and hashed
while the next pieces are on their way. Either way the digest is the one the server has to find: a source that
changed between two readings is noticed there.

Pieces are compared one by one where nothing else vouches for them. Under TLS every record is vouched for, and
our server compares all of the file at its end: so there a piece has no checksum, may be large, and what came
of a broken one is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import ConnectError, ConnectionLost
from connect_helper.spec.block_hash import SHA256, new_hash
from connect_helper.transports.base import Mark, RateLimiter, SendItem
from connect_helper.transports.groups import first_error
from connect_helper.transports.http_connection import HttpConnection
from connect_helper.transports.http_lines import HttpLine
from connect_helper.transports.http_upload import PART, Cutter, Span, Upload, UploadPart
from connect_helper.transports.portions import Portions
from connect_helper.transports.read_ahead import BLOCK, ReadAhead
from connect_helper.transports.tus_client import TusClient

PIECE: Final = 4 * 1024 * 1024  # bytes of one request
SMALLEST_PIECE: Final = 64 * 1024
LARGEST_PIECE: Final = 64 * 1024 * 1024  # without a checksum
QUICK_S: Final = 2.0  # a piece that took no longer is followed by a larger one
SLOW_S: Final = 8.0
SECOND: Final = 10  # slices of the rate limiter
STALLS: Final = 5  # pieces in a row of which nothing arrived
LANES: Final = 8  # requests for one file side by side
FIRST_PORTION: Final = 4 * 1024 * 1024  # bytes of a part, while nobody knows how quick a connection is
PORTION_S: Final = 4.0  # how long a part takes: between two of them a connection waits for an answer
FURTHER: Final = 9  # requests of all files together, beside the first of each

Begin = Callable[[Span, bool, HttpLine], Awaitable[UploadPart]]
"""Begins the upload for a stretch of the file, and remembers it; told whether that is all of the file."""


@dataclass(slots=True, eq=False)
class _Lane:
    """What sends parts one after the other over a connection of its own."""

    line: HttpLine
    size: int = PIECE  # bytes the next piece has best
    found: UploadPart | None = None  # its next part, looked for while the last bytes of one are on their way
    looking: asyncio.Task[None] | None = None  # for that


def whole_algorithm(item: SendItem) -> str:
    """By which the digest of a whole file is made, that the server has to find."""
    return item.hashes.algorithm if item.hashes.chained else SHA256


class PartSender:
    """Brings uploads to their end."""

    def __init__(self, http: HttpConnection, tus: TusClient, limiter: RateLimiter) -> None:
        self._http = http
        self._tus = tus
        self._limiter = limiter
        self._further = asyncio.Semaphore(FURTHER)

    async def send(self, item: SendItem, upload: Upload, begin: Begin) -> None:
        """Send what the server does not have, up to the end of the file.

        Raises ConnectionLost, also when the server lost what it had confirmed; SourceChanged.
        """
        divides = self._divides(upload)
        cutter = Cutter(upload, divided=divides)
        sending = _Sending(item, upload, begin, cutter, in_order=not divides and upload.is_one_stream)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sending.follow(), name="hash")
                tasks.create_task(self._lanes(sending, LANES if divides else 1), name="lanes")
        except BaseExceptionGroup as group:
            failure = first_error(group)
        else:
            upload.digest, upload.algorithm = sending.digest, sending.algorithm
            return
        raise failure

    def _divides(self, upload: Upload) -> bool:
        """A near server fills one connection; it would only have to join the parts."""
        worthwhile = upload.size - upload.confirmed >= 2 * PART and self._http.is_far
        return worthwhile and self._tus.offer.joins and self._limit(PIECE) == PIECE

    def _limit(self, size: int) -> int:
        """At most `size`, and no more than the rate limit lets through in a second."""
        return min(size, max(SMALLEST_PIECE, self._limiter.block_limit() * SECOND))

    async def _lanes(self, sending: _Sending, number: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lane(sending, tasks), name="first lane")
            for _ in range(number - 1):
                tasks.create_task(self._further_lane(sending, tasks), name="further lane")
        sending.end()

    async def _further_lane(self, sending: _Sending, tasks: asyncio.TaskGroup) -> None:
        await self._http.further()
        if not self._further.locked():
            async with self._further:
                await self._lane(sending, tasks)

    async def _lane(self, sending: _Sending, tasks: asyncio.TaskGroup) -> None:
        await sending.ready.wait()
        if not sending.has_more:
            return
        loop, portions = asyncio.get_running_loop(), sending.portions
        async with self._http.line() as line:
            lane = _Lane(line)
            try:
                began = loop.time()
                while (part := await self._next(sending, lane)) is not None:
                    before = part.sent
                    await self._send(sending, lane, part, tasks)
                    now = loop.time()
                    portions.moved(lane, part.length - before, now - began)
                    began = now
            finally:
                portions.gone(lane)

    async def _next(self, sending: _Sending, lane: _Lane) -> UploadPart | None:
        if lane.looking is not None:
            await lane.looking
            lane.looking = None
        found, lane.found = lane.found, None
        return found or await sending.next(lane, lane.line)

    async def _look_ahead(self, sending: _Sending, lane: _Lane, on_way: int) -> None:
        """Find the lane's next part, while the server's answer about `on_way` bytes is waited for.

        Where there is none to be had it is asked again after that: others may have declined it meanwhile.
        """
        with suppress(ConnectError):  # the lane's own connection may be sound
            async with self._http.spare_line() as line:
                if line is not None:
                    lane.found = await sending.next(lane, line, on_way)

    async def _send(self, sending: _Sending, lane: _Lane, part: UploadPart, tasks: asyncio.TaskGroup) -> None:
        """Send a part in pieces."""
        loop, stalled = asyncio.get_running_loop(), 0

        def ends() -> None:
            if lane.looking is None and lane.found is None:
                looking = self._look_ahead(sending, lane, part.length - part.sent)
                lane.looking = tasks.create_task(looking, name="next part")

        while part.sent < part.length:
            before, began = part.sent, loop.time()
            length = min(self._limit(lane.size), part.length - before)
            last = before + length == part.length
            after = await self._append(sending, lane, part, length, ends if last else None)
            if after is None:
                after = await self._tus.offset(part.address, sending.item.partial, over=lane.line)
            if after is None or not before <= after <= before + length:
                raise ConnectionLost(
                    "The server lost what was sent; start the transfer again to go on.",
                    internal_message=f"upload at {after} instead of {before} to {before + length}",
                )
            stalled = stalled + 1 if after == before else 0
            if stalled >= STALLS:
                raise ConnectionLost("The server takes no more bytes; start the transfer again to go on.")
            sending.arrived(part, after)
            if not self._checks_pieces and length == lane.size:  # what is left of a part tells little
                lane.size = _next_size(lane.size, loop.time() - began)

    @property
    def _checks_pieces(self) -> bool:
        return self._tus.offer.compares and not (self._http.encrypted and self._tus.offer.compares_whole)

    async def _append(
        self,
        sending: _Sending,
        lane: _Lane,
        part: UploadPart,
        length: int,
        at_end: Callable[[], None] | None,
    ) -> int | None:
        """Send the next `length` bytes of `part`; see `TusClient.append`.

        `at_end` is called once all of them are handed to the system.
        """
        block, sha256 = BLOCK, b""
        if self._checks_pieces:  # all of it has to be read before the first byte goes
            block = length
        reading = ReadAhead(sending.read, part.start + part.sent, length, block)
        try:
            pieces: AsyncIterator[bytes] = reading.blocks()
            if self._checks_pieces:
                piece = await anext(pieces)
                sha256 = (await asyncio.to_thread(hashlib.sha256, piece)).digest()
                pieces = _one(piece)
            if at_end is not None:
                pieces = _ending(pieces, at_end)
            return await self._tus.append(
                part.address, part.sent, length, pieces, sending.item.partial, sha256, over=lane.line
            )
        except ConnectError:
            if reading.failure is not None:  # the HTTP library takes it for a broken line
                raise reading.failure from None
            raise
        finally:
            await reading.end()


def _next_size(size: int, took_s: float) -> int:
    if took_s < QUICK_S:
        return min(2 * size, LARGEST_PIECE)
    return max(size // 2, PIECE) if took_s > SLOW_S else size


async def _ending(pieces: AsyncIterator[bytes], at_end: Callable[[], None]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
    at_end()


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


class _Sending:
    """One file under way: what the lanes take from, and its hashing.

    `in_order`: there is one lane, and what it reads comes in the order of the file.
    """

    def __init__(
        self, item: SendItem, upload: Upload, begin: Begin, cutter: Cutter, *, in_order: bool
    ) -> None:
        self.item = item
        self.ready = asyncio.Event()  # for the lanes
        self._in_order = in_order
        self._upload = upload
        self._begin = begin
        self._cutter = cutter
        self.portions = Portions(FIRST_PORTION, PORTION_S)
        self._begun = deque(part for part in upload.parts if part.sent < part.length)
        self._news = asyncio.Event()
        self._is_over = False
        self._own = None if item.hashes.chained else new_hash(SHA256)  # of the whole file
        self._hashed = 0 if self._own is not None else item.offset  # up to there in the file
        self._marks: deque[Mark] = deque()  # of what is hashed and not confirmed
        self._told = item.offset

    @property
    def digest(self) -> str:
        """Of all of the file, once it is sent; in hex."""
        return self.item.hashes.whole if self._own is None else self._own.hexdigest()

    @property
    def algorithm(self) -> str:
        """By which that is made."""
        return whole_algorithm(self.item)

    async def next(self, lane: object, line: HttpLine, on_way: int = 0) -> UploadPart | None:
        """The next part to send: those begun by an earlier session come first. None: no more for `lane`.

        `on_way` bytes of its last part are as good as confirmed.
        """
        if self._begun:
            return self._begun.popleft()
        size = self._cutter.size(self.portions.wanted(lane))
        left = self._upload.size - self._upload.confirmed - on_way
        if size is None or self.portions.would_be_last(lane, size, left):
            return None
        span = self._cutter.take(size)
        try:
            return await self._begin(span, span == (0, self._upload.size), line)
        except BaseException:
            self._cutter.give_back(span)
            raise

    @property
    def has_more(self) -> bool:
        """Whether a lane that comes now may still find a part."""
        return bool(self._begun) or self._cutter.size(0) is not None

    def end(self) -> None:
        """Nobody sends any more."""
        self._is_over = True
        self._news.set()

    def arrived(self, part: UploadPart, sent: int) -> None:
        part.sent = sent
        while self._marks and self._marks[0].offset <= self._upload.offset:
            self.item.done = self._marks.popleft()
        self._news.set()
        self._tell()

    def _tell(self) -> None:
        """Count what a later session can go on from: hashed, or confirmed beyond what is hashed next."""
        certain = self.item.done.offset + self._upload.confirmed - self._upload.offset
        if certain > self._told:
            self.item.sink(certain - self._told)
            self._told = certain

    async def follow(self) -> None:
        """Hash the file in its order, as far as everything is confirmed; in order, only what was before."""
        item, upload = self.item, self._upload
        item.done = item.hashes.mark()
        if not self._in_order:
            self.ready.set()
        end_at = upload.offset if self._in_order else upload.size
        while (at := self._hashed) < end_at:
            while (end := upload.offset) == at:
                if self._is_over:
                    raise ConnectionLost("Not all was sent; start the transfer again to go on.")
                self._news.clear()
                await self._news.wait()
            await asyncio.to_thread(self._hash, at, min(PIECE, end - at))
            item.done = item.hashes.mark()
            self._tell()
        self.ready.set()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes to send. Blocks, and hashes what comes in order for the first time."""
        piece = self.item.source.read(offset, length)
        if self._in_order:
            self._feed(offset, piece)
            self._marks.append(self.item.hashes.mark())
        return piece

    def _hash(self, offset: int, length: int) -> None:
        self._feed(offset, self.item.source.read(offset, length))

    def _feed(self, offset: int, piece: bytes) -> None:
        """Hash what is new in `piece`; what the record's hashes had before is not fed to them again."""
        view = memoryview(piece)[self._hashed - offset :]
        if self._own is not None:
            self._own.update(view)
        self.item.hashes.feed(view[max(0, self.item.offset - self._hashed) :])
        self._hashed += len(view)
