"""Bodies of HTTP messages read in batches: quick ones are waited for, slow and short ones never."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from connect_helper.wire.batches import MOST, RECORD, SILENT_S, WORTH, Batches

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is waited for elsewhere")

PACKET = 1448
LIMIT_S = 20


class Pieces:
    """What an HTTP library makes of a stream: the bytes there are."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def readany(self) -> bytes:
        return await self._reader.read(1024 * 1024)


class Line:
    """Both ends of a connection."""

    def __init__(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter, far: socket.socket) -> None:
        self.stream = Pieces(reader)
        self.transport = near.transport
        self._far = far

    async def send(self, amount: int, *, pause_s: float) -> None:
        """Send in packets, each so long after the one before."""
        loop = asyncio.get_running_loop()
        for at in range(0, amount, PACKET):
            await loop.sock_sendall(self._far, bytes(min(PACKET, amount - at)))
            await asyncio.sleep(pause_s)

    @property
    def wakes_at(self) -> int:
        sock = self.transport.get_extra_info("socket")
        return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT))


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reader, near = await asyncio.open_connection(*server.getsockname())
        far, _ = await asyncio.get_running_loop().sock_accept(server)
        with far:
            yield Line(reader, near, far)
        near.close()


async def read(line: Line, batches: Batches, amount: int, waits: list[int]) -> None:
    """Read `amount` bytes, and note what was waited for."""
    left = amount
    async with asyncio.timeout(LIMIT_S):
        while left:
            piece = await batches.readany()
            left -= len(piece)
            waits.append(line.wakes_at)


async def test_a_quick_body_is_waited_for_and_arrives_whole() -> None:
    async with line() as here:
        waits: list[int] = []
        size = 16 * WORTH  # long enough for its rate to be seen
        with Batches(here.stream, here.transport, size) as batches:
            async with asyncio.TaskGroup() as both:
                both.create_task(here.send(size, pause_s=0))
                both.create_task(read(here, batches, size, waits))
        assert 1 < max(waits) <= MOST
        assert waits[-1] == 1  # the end of a body is near long before
        assert here.wakes_at == 1


async def test_nobody_waits_for_more_than_is_certain_to_come() -> None:
    async with line() as here:
        waits: list[int] = []
        size = 2 * WORTH
        with Batches(here.stream, here.transport, size) as batches:
            batches._rate = 1e9
            batches._since += LIMIT_S  # it is not measured again
            sent, left = 0, size
            while left:
                amount = min(50_000, size - sent)
                await here.send(amount, pause_s=0)
                sent += amount
                if size - sent < RECORD:
                    await read(here, batches, left, waits)
                    break
                piece = await batches.readany()
                left -= len(piece)
                assert here.wakes_at <= max(1, left - RECORD)
        assert here.wakes_at == 1


async def test_what_a_quick_sender_leaves_unfinished_is_seen_soon() -> None:
    async with line() as here:
        waits: list[int] = []
        with Batches(here.stream, here.transport, 100 * WORTH) as batches:
            batches._rate = 1e9
            batches._since += LIMIT_S
            await here.send(PACKET, pause_s=0)
            await read(here, batches, PACKET, waits)
            assert waits == [MOST]
            await here.send(PACKET, pause_s=0)  # and falls silent
            async with asyncio.timeout(4 * SILENT_S):
                await read(here, batches, PACKET, waits)


@pytest.mark.parametrize("length", [None, WORTH - 1])
async def test_a_short_body_is_not_waited_for(length: int | None) -> None:
    async with line() as here:
        waits: list[int] = []
        with Batches(here.stream, here.transport, length) as batches:
            batches._rate = 1e9
            await here.send(10 * PACKET, pause_s=0)
            await read(here, batches, 10 * PACKET, waits)
        assert set(waits) == {1}


async def test_a_connection_without_a_socket_is_no_fault() -> None:
    async with line() as here:
        with Batches(here.stream, None, 10 * WORTH) as batches:
            await here.send(PACKET, pause_s=0)
            assert len(await batches.readany()) == PACKET


class Closed(asyncio.Transport):
    """As the transport of TLS is that was broken off and then closed."""

    def is_closing(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: object = None) -> object:
        raise AttributeError(name)


async def test_a_connection_that_is_closed_already_is_no_fault() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"abc")
    with Batches(Pieces(reader), Closed(), WORTH) as body:
        assert await body.readany() == b"abc"
