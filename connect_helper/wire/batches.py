"""Reads the body of an HTTP message from a fast line in batches.

What comes over a long line comes in single packets. To wake up, decrypt and pass on each of them costs
fifteen times what the same bytes cost together, so the system is told to wait for a few milliseconds' worth
(SO_RCVLOWAT of socket(7)). Never for more than is certain to come, nor while the line is slow.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol

BATCH_S: Final = 0.005  # worth of bytes to wait for
MEASURE_S: Final = 0.05  # over which the rate is seen
LEAST: Final = 4 * 1024  # bytes; for fewer it is not worth telling the system
MOST: Final = 128 * 1024
RECORD: Final = 17 * 1024  # bytes of a TLS record, with room; what came of one that is not whole is not seen
WORTH: Final = 512 * 1024  # bytes of a body
SILENT_S: Final = 0.5  # after which nothing is waited for

_WAKES_LATE: Final = sys.platform == "linux"  # where it is known what happens at the end of a connection


class Stream(Protocol):
    """The part of `aiohttp.StreamReader` that is used."""

    async def readany(self) -> bytes: ...


class Batches:
    """The bytes of one body, of `length` bytes if that is known, as they come. Use it as a context manager.

    `transport` is the connection's; None, one without a socket, or one that is closing is no fault.
    """

    def __init__(self, stream: Stream, transport: asyncio.BaseTransport | None, length: int | None) -> None:
        self._stream = stream
        self._left = length or 0
        self._sock = _socket_of(transport) if _WAKES_LATE and self._left >= WORTH else None
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._came = 0  # bytes since then
        self._rate = 0.0  # bytes/s
        self._wakes_at = 1
        self._heard = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Batches:
        if self._sock is not None:
            self._timer = self._loop.call_later(SILENT_S, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The connection may be used again: it must not wait for anything."""
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at(1)

    async def readany(self) -> bytes:
        """The next bytes there are; none at the end."""
        piece = await self._stream.readany()
        if self._sock is not None:
            self._count(len(piece))
        return piece

    def _count(self, amount: int) -> None:
        self._heard = True
        self._left -= amount
        self._came += amount
        now = self._loop.time()
        if now - self._since >= MEASURE_S:
            self._rate = self._came / (now - self._since)
            self._since, self._came = now, 0
        wanted = min(int(self._rate * BATCH_S), MOST, self._left - RECORD)
        if wanted < LEAST:
            self._wake_at(1)
        elif wanted < self._wakes_at or wanted > 2 * self._wakes_at:  # a little more is not worth a call
            self._wake_at(wanted)

    def _look(self) -> None:
        if not self._heard:
            self._rate = 0.0
            self._wake_at(1)
        self._heard = False
        self._timer = self._loop.call_later(SILENT_S, self._look)

    def _wake_at(self, count: int) -> None:
        if count != self._wakes_at and self._sock is not None:
            self._wakes_at = count
            with suppress(OSError):  # it is gone
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def _socket_of(transport: asyncio.BaseTransport | None) -> socket.socket | None:
    """None also where it is closing: the transport of TLS that is closed twice cannot even be asked."""
    if transport is None or transport.is_closing():
        return None
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock
