"""Fetches large files from a near server by a thread for each, straight from the connection to the disk.

On the way through the event loop every byte of TLS is copied four times more, and written and hashed by
another thread when it has left the processor's cache: that takes twice the processor's time, which is what a
near server's files wait for. Only what suits goes this way; anything unexpected before the first byte is left
to the usual one, which knows what to say about it.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from multidict import CIMultiDict

from connect_helper.errors import TransferError
from connect_helper.spec.names import display
from connect_helper.transports.base import RateLimiter, ReceiveItem
from connect_helper.transports.http_answers import check_part, length_told, strong_tag
from connect_helper.transports.http_blocking import BlockingLine
from connect_helper.transports.http_connection import HttpConnection
from connect_helper.transports.proof import Proof

_log = logging.getLogger(__name__)

SIDE_BY_SIDE: Final = 4  # threads
WORTH: Final = 16 * 1024 * 1024  # bytes of a file; fewer are not worth a connection
STEP_S: Final = 0.1  # for which a thread moves before the event loop hears of it, about
QUICK: Final = 2 * 1024 * 1024  # bytes in one slice of the rate limiter
PIECE: Final = 512 * 1024  # bytes hashed and written at once: the processor's cache has room for them
SMALLEST_PIECE: Final = 32 * 1024
PIECE_S: Final = 0.02  # in which a piece should come


class StraightClient:
    """Fetches from one server."""

    def __init__(self, http: HttpConnection, limiter: RateLimiter) -> None:
        self._http = http
        self._limiter = limiter
        self._threads = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="fetch")
        self._room = asyncio.Semaphore(SIDE_BY_SIDE)
        self._is_served = True  # a server may take no further connection while there are others

    def close(self) -> None:
        """Nothing may be on its way."""
        self._threads.shutdown(wait=False)

    async def receive(
        self, item: ReceiveItem, path: str, headers: Mapping[str, str], proof: Proof | None
    ) -> None:
        """Fetch `item` by GET of `path`, from its `offset` on, as far as that suits.

        `item.done` tells how far that was, and `proof` hears of it. Once anything has come, it raises what
        `Transport.receive` does.
        """
        if not self._suits(item) or self._room.locked():
            return
        async with self._room:
            fetch = _Fetch(self._http.blocking_line(), item)
            try:
                with self._http.answer():
                    if await self._ask(fetch, path, headers):
                        await self._take(fetch, proof)
            finally:
                fetch.line.close()

    async def _ask(self, fetch: _Fetch, path: str, headers: Mapping[str, str]) -> bool:
        """Tell whether the answer is what was asked for; one that did not come is not waited for again."""
        try:
            return await self._in_thread(fetch, partial(fetch.ask, path, headers))
        except (OSError, http.client.HTTPException) as error:
            _log.info("nothing straight of %s: %s", display(fetch.item.path), error)
            self._is_served = False
            return False

    def _suits(self, item: ReceiveItem) -> bool:
        """A far server's files need several connections, and at a low limit there is nothing to win."""
        is_worth_it = item.size - item.offset >= WORTH and not self._http.is_far
        may_be_joined = bool(strong_tag(item.etag))  # what comes straight and what comes the usual way
        return may_be_joined and is_worth_it and self._is_quick and self._is_served

    @property
    def _is_quick(self) -> bool:
        return self._limiter.block_limit() >= QUICK

    async def _take(self, fetch: _Fetch, proof: Proof | None) -> None:
        """Move what there is, until all has come or a lower limit is set."""
        while fetch.left and self._is_quick:
            before, limit = fetch.at, self._limiter.block_limit()
            try:
                await self._in_thread(fetch, partial(fetch.step, limit))
            except (OSError, http.client.HTTPException) as error:
                raise self._http.translated(error) from error
            finally:
                fetch.item.done = fetch.mark
                fetch.item.sink(fetch.at - before)
            self._http.heard()
            if proof is not None:
                proof.reach(fetch.at)
            moved, now = fetch.at - before, self._limiter.block_limit()
            # Debt made at a high rate must not stall a low one, see `TokenBucket.set_rate`.
            await self._limiter.take(moved if now >= limit else min(moved, now))

    async def _in_thread(self, fetch: _Fetch, work: Callable[[], bool]) -> bool:
        """Wait for a thread's work; cancelled, cut the connection and wait all the same: it has the file."""
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        cancelled: asyncio.CancelledError | None = None
        while not working.done():
            try:
                await asyncio.wait([working])
            except asyncio.CancelledError as error:
                cancelled = error
                fetch.line.cut()
        if cancelled is not None:
            working.exception()  # an error gives way to the cancellation
            raise cancelled
        return working.result()


class _Fetch:
    """One file under way. What has come is written before `at`, and hashed up to `mark`; its calls block."""

    def __init__(self, line: BlockingLine, item: ReceiveItem) -> None:
        self.line = line
        self.item = item
        self.at = item.offset
        self.mark = item.done
        self._buffer = memoryview(bytearray(PIECE))
        self._piece = SMALLEST_PIECE  # bytes to wait for

    @property
    def left(self) -> int:
        return self.item.size - self.at

    def ask(self, path: str, headers: Mapping[str, str]) -> bool:
        """Ask for all that is left; False: the answer is not exactly that. Raises OSError, HTTPException."""
        answer = self.line.ask(path, headers)
        told = CIMultiDict(answer.getheaders())
        if answer.status != 206 or length_told(told) != self.left or answer.chunked:
            return False
        try:
            check_part(answer.status, told, self.item, self.at, self.left)
        except TransferError:
            return False
        return True

    def step(self, limit: int) -> bool:
        """Move some of it, hardly more than `limit` bytes; False: all has come.

        Raises OSError, HTTPException, DiskFull, TargetError.
        """
        until, most = time.monotonic() + STEP_S, self.at + limit
        while self.left and self.at < most and time.monotonic() < until:
            self._move(self._buffer[: min(self._piece, self.left)])
        return bool(self.left)

    def _move(self, room: memoryview) -> None:
        """Read, write and hash a piece, and fit the next one to how quickly it came."""
        began, count = time.monotonic(), 0
        while count < len(room) and time.monotonic() - began < STEP_S:  # of a slow one what there is
            got = self.line.read_into(room[count:])
            if not got:
                break
            count += got
        if not count:
            raise ConnectionResetError("the connection ended before the file did")
        if count == len(room):
            quick = time.monotonic() - began < PIECE_S
            self._piece = min(2 * count, PIECE) if quick else max(count // 2, SMALLEST_PIECE)
        self.item.target.write(self.at, [room[:count]])
        self.item.hashes.feed(room[:count])
        self.at += count
        self.mark = self.item.hashes.mark()
