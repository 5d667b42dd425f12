"""The connections to one HTTP server, each with at most one request on its way.

The one that was used last is used next: TCP forgets within a second or two how much a silent connection can
carry. Who moves much keeps one for itself, so that no small question gets in between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from connect_helper.errors import CertificateRefused, ConnectError
from connect_helper.transports.http_further import FurtherConnections
from connect_helper.transports.pacing import PacedSockets

CONNECTIONS: Final = 16
READ_BUFFER: Final = 512 * 1024  # bytes of an answer held back before the server is slowed down


class _Settled(AbstractResolver):
    """Answers with the addresses the user agreed to, whatever the name is by now."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class HttpLine:
    """One connection, made when it is first needed and anew when it broke."""

    session: aiohttp.ClientSession


class HttpLines:
    """All of them."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        verified: ssl.SSLContext | aiohttp.Fingerprint | bool,
        ask: Callable[[], Awaitable[object]],
    ) -> None:
        """To no other than `addresses` (numeric); `verified` decides about the server's certificate.

        `ask` sends a question that costs the server nothing.
        """
        self.sockets = PacedSockets()
        self.further = FurtherConnections(ask, self.sockets.line_is_long)
        self._addresses = addresses
        self._verified = verified
        self._all: list[HttpLine] = []
        self._free: list[HttpLine] = []  # those that are connected, the one used last at the end
        self._broken: list[HttpLine] = []  # those that are to be connected anew
        self._room = asyncio.Semaphore(CONNECTIONS)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[HttpLine]:
        """A connection for oneself; waits while all are in use."""
        async with self._room:
            line = (self._free or self._broken or [self._new()]).pop()
            try:
                yield line
            except (ConnectError, CertificateRefused, asyncio.CancelledError):
                self._broken.append(line)
                raise
            except BaseException:
                self._free.append(line)  # the server only said no
                raise
            self._free.append(line)

    @asynccontextmanager
    async def spare(self) -> AsyncIterator[HttpLine | None]:
        """As `one`, but none where it would have to be waited for, or made in several round trips."""
        if not self._free or self._room.locked():
            yield None
            return
        async with self.one() as line:
            yield line

    def _new(self) -> HttpLine:
        connector = aiohttp.TCPConnector(
            resolver=_Settled(self._addresses),
            ssl=self._verified,
            limit=1,
            socket_factory=self.sockets.make,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            trace_configs=[self.further.trace()],
            trust_env=False,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        line = HttpLine(session)
        self._all.append(line)
        return line

    async def close(self) -> None:
        try:
            await self.further.close()
        finally:
            await asyncio.gather(*(line.session.close() for line in self._all), return_exceptions=True)
