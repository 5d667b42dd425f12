"""HTTP connections that stay open for a moment after a session, for the next one to the same server.

On a long line making them takes half a second and more. They hold no login, for each request brings its
token; whoever trusts the same server in the same way may go on with them. Nothing is kept of a session that
broke off or was stopped, nor where a connection is made quickly.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # loading it takes a fifth of a second, and few transfers go this way
    from connect_helper.transports.http_lines import HttpLines

KEPT_S: Final = 10.0
OLDEST_S: Final = 600.0  # from when their first session began: then certificates are looked at anew
MOST: Final = 2  # servers


@dataclass(frozen=True, slots=True)
class Peer:
    """A server, and what makes it trusted."""

    scheme: str
    host: str
    port: int
    addresses: frozenset[str]
    ca_file: tuple[str, int, int, int]  # path, inode, bytes and time of change in ns; zeros without one
    pinned: str  # SHA-256 of the one certificate that is accepted, in hex


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
        self._expiries: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._left)

    async def keep(self, peer: Peer, lines: HttpLines) -> None:
        """Take over what may be of use to another session; close it else."""
        is_old = time.monotonic() - lines.made_at > OLDEST_S
        if is_old or not lines.are_at_rest or not lines.further.took_long:
            await lines.close()
            return
        displaced = [self._left.pop(peer)] if peer in self._left else []
        while len(self._left) >= MOST:
            displaced.append(self._left.pop(next(iter(self._left))))
        expiry = asyncio.create_task(self._expire(peer, lines), name="kept http connections")
        self._expiries.add(expiry)
        expiry.add_done_callback(self._expiries.discard)
        self._left[peer] = _Left(lines, time.time(), expiry)
        await _close(displaced)

    async def take(self, peer: Peer) -> HttpLines | None:
        """What was left for that server, if it is not too old; it is the caller's from here on."""
        left = self._left.pop(peer, None)
        if left is None:
            return None
        if not 0 <= time.time() - left.since <= self._kept_s:
            await _close([left])
            return None
        left.expiry.cancel()
        return left.lines

    async def close(self) -> None:
        """Let go of all of them."""
        left, self._left = list(self._left.values()), {}
        await _close(left)
        await asyncio.gather(*self._expiries, return_exceptions=True)

    async def _expire(self, peer: Peer, lines: HttpLines) -> None:
        await asyncio.sleep(self._kept_s)
        left = self._left.get(peer)
        if left is not None and left.lines is lines:
            del self._left[peer]
            await lines.close()


async def _close(some: list[_Left]) -> None:
    for left in some:
        left.expiry.cancel()
    await asyncio.gather(*(left.lines.close() for left in some), return_exceptions=True)
