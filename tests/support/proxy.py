"""A TCP proxy that counts bytes and does what networks do: cut, fall silent, slow down, corrupt."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

BLOCK = 64 * 1024


class FaultProxy:
    """Forwards 127.0.0.1:`port` to a server. An async context manager.

    `cut_after` bytes from the server or to it, whichever comes first, every connection is reset, once.
    `silence()` forwards nothing more; `cut()` resets now; `flip_at` changes one bit of the byte at that
    position of the stream to the server, `flip_down_at` of that from it. `slow` is a limit in bytes per
    second each way, `delay_s` how long each block is on its way.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cut_after: int | None = None,
        flip_at: int | None = None,
        flip_down_at: int | None = None,
        slow: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._target = (host, port)
        self.port = 0
        self.up = 0  # bytes to the server
        self.down = 0
        self.cut_after = cut_after
        self._flip_at = {True: flip_at, False: flip_down_at}  # up, down
        self.slow = slow
        self.delay_s = delay_s
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._open.set()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Forward nothing from now on, and say nothing about it."""
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, server_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, server_writer, up=True))
                group.create_task(self._forward(server_reader, writer, up=False))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(BLOCK):
                await self._open.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                data = self._flipped(data, up=up)
                writer.write(data)
                await writer.drain()
                self._count(len(data), up=up)
                if self.slow:
                    await asyncio.sleep(len(data) / self.slow)
        writer.transport.abort()

    def _flipped(self, data: bytes, *, up: bool) -> bytes:
        before, at = self.up if up else self.down, self._flip_at[up]
        if at is None or not before <= at < before + len(data):
            return data
        changed = bytearray(data)
        changed[at - before] ^= 1
        return bytes(changed)

    def _count(self, amount: int, *, up: bool) -> None:
        if up:
            self.up += amount
        else:
            self.down += amount
        if self.cut_after is not None and max(self.up, self.down) >= self.cut_after:
            self.cut_after = None
            self.cut()
