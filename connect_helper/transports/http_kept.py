"""HTTP connections that stay open for a moment after a transfer, for the next one to the same server.

On a long line making them takes half a second and more. They hold no login, for each request brings its
token; whoever trusts the same server in the same way may go on with them. Nothing is kept of a transfer that
failed or was stopped.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # loading it takes a fifth of a second, and few transfers go this way
    from connect_helper.transports.http_lines import HttpLines

KEPT_S: Final = 10.0
MOST: Final = 2  # servers


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, and what makes it trusted; as in `HttpEndpoint`."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    ca_file: str
    pinned: str


@dataclass(frozen=True, slots=True)
class _Left:
    lines: HttpLines
    since: float  # by the clock on the wall: the other one stands still while a laptop sleeps
    expiry: asyncio.Task[None]


class KeptLines:
    """Those of one process. Close it at the end."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._left: dict[Peer, _Left] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._left)

    async def keep(self, peer: Peer, lines: HttpLines) -> None:
        """Take over what may be of use to another transfer; close it else."""
        if not lines.are_at_rest:
            await lines.close()
            return
        await self._drop(peer)
        while len(self._left) >= MOST:
            await self._drop(next(iter(self._left)))
        expiry = asyncio.create_task(self._expire(peer), name="kept http connections")
        self._left[peer] = _Left(lines, time.time(), expiry)

    async def take(self, peer: Peer) -> HttpLines | None:
        """What was left for that server, if it is not too old; it is the caller's from here on."""
        left = self._left.get(peer)
        if left is None:
            return None
        if not 0 <= time.time() - left.since <= self._kept_s:
            await self._drop(peer)
            return None
        del self._left[peer]
        left.expiry.cancel()
        return left.lines

    async def close(self) -> None:
        """Let go of all of them."""
        for peer in list(self._left):
            await self._drop(peer)

    async def _expire(self, peer: Peer) -> None:
        await asyncio.sleep(self._kept_s)
        await self._left.pop(peer).lines.close()

    async def _drop(self, peer: Peer) -> None:
        left = self._left.pop(peer, None)
        if left is not None:
            left.expiry.cancel()
            await left.lines.close()
