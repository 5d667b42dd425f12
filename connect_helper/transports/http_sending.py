"""Sends one file as uploads of a server: over one connection, or parts side by side where that is quicker.

Hashes need the bytes in their order, parts are sent in any: so what is confirmed without a gap is read again
(the system has it in memory still) and hashed while the next pieces are on their way. The digest of that
reading is the one the server has to find: a source that changed between the two is noticed there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from connect_helper.errors import ConnectionLost
from connect_helper.transports.base import BlockHashes, LocalSource, RateLimiter, SendItem
from connect_helper.transports.groups import first_error
from connect_helper.transports.http_connection import HttpConnection
from connect_helper.transports.http_upload import PART, Span, Upload, UploadPart, cut
from connect_helper.transports.tus_client import TusClient

PIECE: Final = 4 * 1024 * 1024  # bytes of one request
SMALLEST_PIECE: Final = 64 * 1024
SECOND: Final = 10  # slices of the rate limiter
STALLS: Final = 5  # pieces in a row of which nothing arrived
LANES: Final = 4  # requests for one file side by side
FURTHER: Final = 9  # requests of all files together, beside the first of each

Begin = Callable[[Span], Awaitable[UploadPart]]
"""Begins the upload for a stretch of the file, and remembers it."""


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
        spans = deque(cut(upload) if divides else upload.gaps())
        sending = _Sending(item, upload, begin, spans)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sending.follow(), name="hash")
                tasks.create_task(self._lane(sending), name="first lane")
                for _ in range(LANES - 1 if divides else 0):
                    tasks.create_task(self._further_lane(sending), name="further lane")
        except BaseExceptionGroup as group:
            failure = first_error(group)
        else:
            return
        raise failure

    def _divides(self, upload: Upload) -> bool:
        """A near server fills one connection; it would only have to join the parts."""
        worthwhile = upload.size - upload.confirmed >= 2 * PART and self._http.is_far
        return worthwhile and self._tus.offer.joins and self._piece() == PIECE

    def _piece(self) -> int:
        return min(PIECE, max(SMALLEST_PIECE, self._limiter.block_limit() * SECOND))

    async def _further_lane(self, sending: _Sending) -> None:
        if not self._further.locked():
            async with self._further:
                await self._lane(sending)

    async def _lane(self, sending: _Sending) -> None:
        while (part := await sending.next()) is not None:
            await self._send(sending, part)

    async def _send(self, sending: _Sending, part: UploadPart) -> None:
        item, stalled = sending.item, 0
        while part.sent < part.length:
            before = part.sent
            length = min(self._piece(), part.length - before)
            piece, sha256 = await asyncio.to_thread(_read, item.source, part.start + before, length)
            after = await self._tus.append(part.address, before, piece, sha256, item.partial)
            if after is None:
                after = await self._tus.offset(part.address, item.partial)
            if after is None or not before <= after <= before + length:
                raise ConnectionLost(
                    "The server lost what was sent; start the transfer again to go on.",
                    internal_message=f"upload at {after} instead of {before} to {before + length}",
                )
            stalled = stalled + 1 if after == before else 0
            if stalled >= STALLS:
                raise ConnectionLost("The server takes no more bytes; start the transfer again to go on.")
            sending.arrived(part, after)


class _Sending:
    """One file under way: what the lanes take from, and the hashing that follows them."""

    def __init__(self, item: SendItem, upload: Upload, begin: Begin, spans: deque[Span]) -> None:
        self.item = item
        self._upload = upload
        self._begin = begin
        self._spans = spans
        self._begun = deque(part for part in upload.parts if part.sent < part.length)
        self._news = asyncio.Event()
        self._hashed = 0  # from the start of the file
        self._told = item.offset

    async def next(self) -> UploadPart | None:
        """The next part to send: those begun by an earlier session come first."""
        if self._begun:
            return self._begun.popleft()
        return await self._begin(self._spans.popleft()) if self._spans else None

    def arrived(self, part: UploadPart, sent: int) -> None:
        part.sent = sent
        self._news.set()
        self._tell()

    def _tell(self) -> None:
        """Count what a later session can go on from: hashed, or confirmed beyond what is hashed next."""
        certain = self._hashed + self._upload.confirmed - self._upload.offset
        if certain > self._told:
            self.item.sink(certain - self._told)
            self._told = certain

    async def follow(self) -> None:
        """Hash the file in its order, as far as everything is confirmed."""
        item, upload = self.item, self._upload
        upload.digest = hashlib.sha256()
        item.done = item.hashes.mark()
        while (at := self._hashed) < upload.size:
            while (end := upload.offset) == at:
                self._news.clear()
                await self._news.wait()
            length = min(PIECE, end - at)
            skipped = min(length, max(0, item.offset - at))  # the record's hashes have that already
            await asyncio.to_thread(_hash, item.source, at, length, upload, item.hashes, skipped)
            self._hashed += length
            item.done = item.hashes.mark()
            self._tell()


def _read(source: LocalSource, offset: int, length: int) -> tuple[bytes, bytes]:
    piece = source.read(offset, length)
    return piece, hashlib.sha256(piece).digest()


def _hash(
    source: LocalSource, offset: int, length: int, upload: Upload, hashes: BlockHashes, skipped: int
) -> None:
    piece = memoryview(source.read(offset, length))
    if upload.digest is not None:
        upload.digest.update(piece)
    hashes.feed(piece[skipped:])
