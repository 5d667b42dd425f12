"""Fetches parts of a file by GET, and believes no answer that is not exactly what was asked for (REL-6).

Whatever is added to bytes that are here already is asked for with `If-Range` and the strong tag they had: so
neither two versions of a file nor a file and an error page are ever put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import aiohttp

from connect_helper.errors import LengthMismatch
from connect_helper.spec.names import display
from connect_helper.transports.base import RateLimiter, ReceiveItem
from connect_helper.transports.groups import first_error
from connect_helper.transports.http_answers import (
    JUDGED,
    changed,
    check_part,
    content_range,
    fits,
    is_whole,
    other_part,
    strong_tag,
)
from connect_helper.transports.http_connection import HttpConnection, refusal, told_digest
from connect_helper.transports.http_lines import READ_BUFFER
from connect_helper.transports.http_order import InOrder, Part
from connect_helper.transports.http_proof import WHOLE, BlockQuestions, WholeDigest
from connect_helper.transports.http_straight import StraightClient
from connect_helper.transports.portions import Portions
from connect_helper.transports.proof import Proof
from connect_helper.wire.batches import Batches

FILES: Final = "/fallback/v1/files/"
BATCH: Final = 2 * 1024 * 1024  # bytes written at once
PART: Final = 4 * 1024 * 1024  # bytes of one request where several run side by side
SMALLEST_PART: Final = 1024 * 1024
FIRST_PORTION: Final = 2 * 1024 * 1024  # bytes of a part, while nobody knows how quick a connection is
PORTION_S: Final = 1.0  # how long a part takes
PARTS: Final = 8  # requests for one file side by side
AHEAD: Final = 64 * 1024 * 1024  # bytes handed out and not written: what waits for its turn is in memory
FURTHER: Final = 9  # requests of all files together, beside the first of each
SECOND: Final = 10  # slices of the rate limiter
LOW: Final = 256 * 1024  # bytes/s; at such a limit
HELD: Final = 2 * READ_BUFFER  # bytes are asked for at once, which have room here


class RangeClient:
    """Reads files of one server."""

    def __init__(self, http: HttpConnection, limiter: RateLimiter) -> None:
        self._http = http
        self._limiter = limiter
        self._straight = StraightClient(http, limiter)
        self._further = asyncio.Semaphore(FURTHER)
        self._questions = BlockQuestions(http)
        self._whole_only = False  # a server, or a proxy before it, that knows nothing of ranges

    def close(self) -> None:
        """Nothing may be on its way."""
        self._straight.close()

    async def receive(self, item: ReceiveItem) -> None:
        """See `Transport.receive`: over one connection, or several where that is quicker."""
        if item.offset not in (0, item.size) and not strong_tag(item.etag):
            raise changed(item.path)  # nothing proves what it would be added to: from the start
        if self._comes_whole(item):
            await self._receive_whole(item)
            return
        proof = self._questions.proof_of(item) if item.size and strong_tag(item.etag) else None
        try:
            if item.offset == item.size:
                await self._look(item)
            else:
                await self._receive_parts(item, proof)
            item.proved = proof is not None and await proof.holds(item.hashes)
        finally:
            if proof is not None:
                await proof.close()

    async def _receive_whole(self, item: ReceiveItem) -> None:
        """A small file by one request, with its digest: asking for that later would cost another one."""
        whole = WholeDigest()
        order = InOrder(item, self._batch, whole=whole)
        try:
            part = await order.part(item.size, item.size)
            if part is not None:
                await self._fetch(item, order, part, whole)
            await order.flush()
        finally:
            await order.settle()
        item.proved = whole.holds(item.path)

    async def _receive_parts(self, item: ReceiveItem, proof: Proof | None) -> None:
        if proof is not None:
            proof.reach(item.offset)  # of an earlier session
        length = item.size - item.offset
        await self._straight.receive(item, _address(item.path), _of_part(item, item.offset, length), proof)
        order = InOrder(item, self._batch, proof=proof)
        try:
            await self._receive(item, order)
        finally:
            await order.settle()

    async def _receive(self, item: ReceiveItem, order: InOrder) -> None:
        if not self._divides(item):
            while (part := await order.part(self._at_once(item), item.size)) is not None:
                await self._fetch(item, order, part)
            await order.flush()
            return
        try:
            portions = Portions(FIRST_PORTION, PORTION_S)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._fetch_parts(item, order, portions), name="first part")
                for _ in range(PARTS - 1):
                    tasks.create_task(self._fetch_beside(item, order, portions), name="further part")
        except BaseExceptionGroup as group:
            failure = first_error(group)
        else:
            # The rate may have been lowered, where only one is to go on, after the first one had left.
            await self._fetch_parts(item, order, portions)
            await order.flush()
            return
        raise failure

    def _batch(self) -> int:
        return min(BATCH, self._limiter.block_limit())

    def _comes_whole(self, item: ReceiveItem) -> bool:
        """Tell whether one request brings all of a small file, of which nobody asked for another digest."""
        fits = 0 < item.size <= min(WHOLE, self._at_once(item))
        return fits and not (item.offset or item.hashes.asked_for or self._divides(item))

    def _at_once(self, item: ReceiveItem) -> int:
        """How much one request is for: a server that waits long for us to take more cuts us off."""
        is_slow = self._limiter.block_limit() * SECOND < LOW
        return HELD if is_slow and self._has_parts(item) else item.size

    def _has_parts(self, item: ReceiveItem) -> bool:
        return bool(strong_tag(item.etag)) and not self._whole_only

    def _divides(self, item: ReceiveItem) -> bool:
        """A near server fills one connection, and a low rate limit too."""
        worthwhile = item.size - item.offset >= 2 * PART and self._http.is_far
        return self._has_parts(item) and worthwhile and self._is_fast

    @property
    def _is_fast(self) -> bool:
        """Whether parts that wait for their turn are soon fetched again after a stop."""
        return self._limiter.block_limit() * SECOND >= PART

    async def _fetch_beside(self, item: ReceiveItem, order: InOrder, portions: Portions) -> None:
        await self._http.further()
        if not self._further.locked():
            async with self._further:
                await self._fetch_parts(item, order, portions, further=True)

    async def _fetch_parts(
        self, item: ReceiveItem, order: InOrder, portions: Portions, *, further: bool = False
    ) -> None:
        loop, lane = asyncio.get_running_loop(), object()
        try:
            while self._is_fast or not further:
                portion = min(portions.wanted(lane), order.left // (2 * PARTS))  # smaller towards the end
                size = min(PART, max(SMALLEST_PART, portion))
                if portions.would_be_last(lane, min(size, order.left), order.missing):
                    return
                part = await order.part(size, AHEAD)
                if part is None:
                    return
                began = loop.time()
                await self._fetch(item, order, part)
                portions.moved(lane, part.length, loop.time() - began)
        finally:
            portions.gone(lane)

    async def _fetch(
        self, item: ReceiveItem, order: InOrder, part: Part, whole: WholeDigest | None = None
    ) -> None:
        asking = whole.ASKING if whole is not None else {}
        async with self._answer(item, part, asking) as answer:
            if whole is not None:
                whole.hear(answer)
            way = answer.connection and answer.connection.transport
            with Batches(answer.content, way, part.length) as body:
                await self._take(item, order, part, body)
        if part.arrived != part.length:
            await order.flush()  # what came is right, and may be gone on from
            raise LengthMismatch(f"{display(item.path)}: the server sent less than the file has.")

    async def _take(self, item: ReceiveItem, order: InOrder, part: Part, body: Batches) -> None:
        while piece := await body.readany():
            self._http.heard()
            if part.arrived + len(piece) > part.length:
                raise LengthMismatch(f"{display(item.path)}: the server sent more than the file has.")
            view = memoryview(piece)  # a megabyte at times: minutes at a low limit
            while view:
                block = view[: self._limiter.block_limit()]
                view = view[len(block) :]
                await self._limiter.take(len(block))
                self._http.heard()
                await order.add(part, block)

    async def _look(self, item: ReceiveItem) -> None:
        """See that the file is still what is here already, all of it. Raises SourceChanged."""
        async with self._http.request("GET" if not item.size else "HEAD", _address(item.path)) as answer:
            if answer.status != 200:
                raise await refusal(answer, "source", item.path)
            if not fits(answer.headers, item) or answer.content_length not in (item.size, None):
                raise changed(item.path)
            if await answer.content.readany():
                raise changed(item.path)

    @asynccontextmanager
    async def _answer(
        self, item: ReceiveItem, part: Part, asking: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer that holds exactly `part`. Raises SourceChanged, SourceError."""
        path, tag = item.path, strong_tag(item.etag)
        headers = {**asking, **_of_part(item, part.offset, part.length)}
        async with self._http.request("GET", _address(path), headers=headers) as answer:
            if answer.status not in JUDGED:
                raise await refusal(answer, "source", path)
            if answer.status == 200 and not is_whole(answer.headers, item, part.offset, part.length):
                self._whole_only |= bool(tag) and answer.headers.get("ETag") == tag
            check_part(answer.status, answer.headers, item, part.offset, part.length)
            yield answer

    async def read(self, path: bytes, offset: int, length: int) -> bytes:
        """The bytes there; fewer only where the file ends."""
        if not length:
            return b""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._http.request("GET", _address(path), headers=headers) as answer:
            if answer.status == 416:
                return b""
            if answer.status != 206:
                raise await refusal(answer, "source", path)
            start, end, _ = content_range(answer.headers, path)
            data = bytearray()
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > length:
                    break
            if start != offset or len(data) != end - start or len(data) > length:
                raise other_part(path)
            return bytes(data)

    async def sha256(self, path: bytes) -> str:
        """The server's digest of the whole file, in hex; "" when it does not tell one."""
        headers = {"Want-Repr-Digest": "sha-256=1"}
        async with self._http.request("HEAD", _address(path), headers=headers, long=True) as answer:
            if answer.status != 200:
                raise await refusal(answer, "source", path)
            return told_digest(answer)


def _of_part(item: ReceiveItem, start: int, length: int) -> dict[str, str]:
    """The headers that ask for a part of exactly the version that is being fetched."""
    headers = {"Range": f"bytes={start}-{start + length - 1}"}
    if tag := strong_tag(item.etag):
        headers["If-Range"] = tag
    return headers


def _address(path: bytes) -> str:
    return FILES + quote(path.lstrip(b"/"), safe="/")
