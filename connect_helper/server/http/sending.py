"""A stretch of an open file to a client: by sendfile where nothing encrypts, else read ahead in a thread.

The client's slowness is borne, its silence is not: each step must get through within the idle limit, and
steps are small for slow lines and low rate limits, and large for fast ones. So those who share a limit have
their turns often, too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from io import FileIO
from typing import Final

from aiohttp import web

from connect_helper.server.http.threads import until_done

FIRST_STEP: Final = 64 * 1024  # bytes
SMALLEST_STEP: Final = 16 * 1024
LARGEST_STEP: Final = 8 * 1024 * 1024
SMALLEST_BLOCK: Final = 256 * 1024  # bytes read ahead under encryption
LARGEST_BLOCK: Final = 2 * 1024 * 1024  # a thread's turn costs as much as encrypting some 100 KiB
LARGEST_SLICE: Final = 512 * 1024  # bytes encrypted at once, while other clients wait
_FAST_S: Final = 0.25
_SLOW_S: Final = 1.0

Pace = Callable[[int], Awaitable[None]]
Unchanged = Callable[[], bool]


class Sender:
    """Sends to one client; the answer's headers must be out already."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        disk: Executor,
        *,
        pace: Pace,
        idle_s: float,
    ) -> None:
        self._request = request
        self._response = response
        self._disk = disk
        self._pace = pace
        self._idle_s = idle_s
        self._step = FIRST_STEP
        self.handed = 0  # bytes the client may have by now, however it ends

    async def send(self, handle: int, start: int, length: int, unchanged: Unchanged) -> None:
        """Send `length` bytes from `start`, the last of them only if `unchanged` says so.

        Raises ConnectionResetError, the connection cut, when the client falls silent or the file changed or
        ended early: the client sees that bytes are missing.
        """
        try:
            if self._request.secure:
                await self._encrypted(handle, start, length, unchanged)
            else:
                await self._plain(handle, start, length, unchanged)
            async with asyncio.timeout(self._idle_s):
                await self._response.write_eof()
        except (TimeoutError, _Broken) as error:
            raise self._cut(str(error) or "the client takes no bytes") from None
        except BaseException:
            self._cut("the answer was broken off")
            raise

    def _cut(self, reason: str) -> ConnectionResetError:
        if self._request.transport is not None:
            self._request.transport.abort()
        return ConnectionResetError(reason)

    async def _plain(self, handle: int, start: int, length: int, unchanged: Unchanged) -> None:
        loop = asyncio.get_running_loop()
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        end = start + length
        with FileIO(os.dup(handle), "rb") as file:
            while start < end:
                began = loop.time()
                amount = min(self._step, end - start)
                await self._pace(amount)
                if start + amount == end:
                    await self._check(unchanged)
                self.handed += amount
                async with asyncio.timeout(self._idle_s):
                    sent = await loop.sendfile(transport, file, start, amount)
                if sent != amount:
                    raise _Broken("the file became shorter")
                start += sent
                self._step = _next_step(self._step, loop.time() - began, SMALLEST_STEP, LARGEST_STEP)

    async def _encrypted(self, handle: int, start: int, length: int, unchanged: Unchanged) -> None:
        loop = asyncio.get_running_loop()
        block, end = SMALLEST_BLOCK, start + length
        reading: asyncio.Future[bytes] | None = None
        try:
            while start < end:
                if reading is None:
                    reading = self._read(handle, start, min(start + block, end))
                await until_done(reading)
                data, reading = reading.result(), None
                if not data:
                    raise _Broken("the file became shorter")
                start += len(data)
                if start < end:
                    reading = self._read(handle, start, min(start + block, end))
                else:
                    await self._check(unchanged)
                began = loop.time()
                await self._write(data)
                block = _next_step(block, loop.time() - began, SMALLEST_BLOCK, LARGEST_BLOCK)
        finally:
            if reading is not None:
                await until_done(reading)  # it uses the descriptor, which the caller closes

    async def _write(self, data: bytes) -> None:
        loop, view = asyncio.get_running_loop(), memoryview(data)
        while view:
            began = loop.time()
            piece = view[: self._step]
            view = view[len(piece) :]
            await self._pace(len(piece))
            self.handed += len(piece)
            async with asyncio.timeout(self._idle_s):
                await self._response.write(piece)
            self._step = _next_step(self._step, loop.time() - began, SMALLEST_STEP, LARGEST_SLICE)

    def _read(self, handle: int, start: int, end: int) -> asyncio.Future[bytes]:
        step = partial(os.pread, handle, end - start, start)
        return asyncio.get_running_loop().run_in_executor(self._disk, step)

    async def _check(self, unchanged: Unchanged) -> None:
        if not unchanged():
            raise _Broken("the file changed while it was sent")


class _Broken(Exception):
    """The bytes to send are not what was promised."""


def _next_step(step: int, took_s: float, smallest: int, largest: int) -> int:
    """Larger after a quick step, smaller after a slow one: little is held for those who take little."""
    if took_s < _FAST_S:
        return min(step * 2, largest)
    return max(step // 2, smallest) if took_s > _SLOW_S else step
