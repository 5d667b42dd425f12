"""Opens, shares out and gives back the SSH connections of one transfer.

Everything hangs on the first connection: its server's key is the one the others have to show, and nobody is
asked again. Where SFTP may be opened right behind a login, it is; a server that does not take that is logged
in to once more, step by step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import asyncssh

from connect_helper.errors import (
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ConnectTimedOut,
    TargetError,
    WeakAlgorithms,
)
from connect_helper.transports.base import RateLimiter
from connect_helper.transports.head_start import HeadStart
from connect_helper.transports.host_keys import AskHostKey, KnownKeys
from connect_helper.transports.kept import KeptConnections, Owner
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.line import Line
from connect_helper.transports.quick_login import Haste, Method
from connect_helper.transports.rate import SLICE_S, UNLIMITED_BLOCK
from connect_helper.transports.ssh_connection import Connected, Credentials, Endpoint, connect

_log = logging.getLogger(__name__)

CLOSE_LIMIT_S: Final = 5.0
OPEN_LIMIT_S: Final = 30.0
LONG_S: Final = 0.05  # a round trip: so long that connections are begun before anybody knows what there is
GUESS: Final = 8 * 1024 * 1024  # bytes, taken for what there is then


class Connections:
    """`ask` is awaited when the server's key is unknown; a no is HostKeyUnknown."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        known: KnownKeys,
        ask: AskHostKey,
        limiter: RateLimiter,
        fixed: int | None = None,
        divide_from: int | None = None,
        kept: KeptConnections | None = None,
    ) -> None:
        """`fixed`: so many connections and no other number; `divide_from`: bytes of a file for several.

        `kept` has what earlier transfers left, and gets what this one leaves.
        """
        self._endpoint = endpoint
        self._credentials = credentials
        self._known = known
        self._ask = ask
        self.limiter = limiter
        self._fixed = fixed
        self._divide_from = divide_from
        self._kept = kept
        self._owner = Owner.of(endpoint, credentials)
        self.address = ""
        self._lanes: Lanes | None = None
        self._opening: asyncio.Task[None] | None = None
        self._hint = 0  # bytes to move, as far as known before there is a connection
        self._first: Connected | None = None
        self._method: asyncio.Future[Method]  # that the server took
        self._hurries = True  # SFTP is opened right behind the login, where that can be

    @property
    def lanes(self) -> Lanes:
        if self._lanes is None:
            raise RuntimeError("the transport is not open")
        return self._lanes

    async def open(self) -> None:
        """Connect, or go on with the connections an earlier transfer left."""
        self._method = asyncio.get_running_loop().create_future()
        left = self._kept and await self._kept.take(self._owner, self._known, self._fixed)
        if left:
            self._settle(left.connected, left.line)
            self.lanes.admit(*left.lanes)
            return
        first = await self._step_by_step_if_need_be(HeadStart(), self._log_in)
        self.lanes.admit(first)

    async def _step_by_step_if_need_be(
        self, start: HeadStart, log_in: Callable[[HeadStart], Awaitable[Lane]]
    ) -> Lane:
        """Log in, and once more where a server did not take what was sent ahead, though it said it would."""
        async with start:
            try:
                return await log_in(start)
            except (ConnectError, TargetError) as error:
                if not start.begun or isinstance(error, WeakAlgorithms | ConnectRefused | ConnectTimedOut):
                    raise
                _log.info("logging in once more, step by step: %s", error.internal_message)
                self._hurries = False
                start.refused()
                return await log_in(start)

    async def _log_in(self, start: HeadStart) -> Lane:
        """Make the connection that everything else hangs on."""
        connected = await connect(
            self._endpoint,
            self._credentials,
            self._known,
            self._ask,
            haste=Haste(behind=start if self._hurries else None),
            reached=self._reached,
        )
        self._settle(connected)
        return await self._lane(connected.connection, start)

    def _reached(self, address: str, round_trip_s: float) -> None:
        """Where the server's key is known, further connections need not wait for the first one's login."""
        if self._known.trusted and self._lanes is None:
            self._open_further(address, Line(round_trip_s))

    def _settle(self, connected: Connected, line: Line | None = None) -> None:
        self.address = connected.address
        self._first = connected
        # Further connections go to the same address and must show the same key: nobody is asked again.
        self._known = KnownKeys(trusted=(connected.key,), revoked=self._known.revoked)
        if not self._method.done():
            self._method.set_result(connected.method)
        if self._lanes is None:
            self._open_further(connected.address, line or Line(connected.round_trip_s))

    def _open_further(self, address: str, line: Line) -> None:
        self._endpoint = replace(self._endpoint, addresses=(address,))
        self._lanes = lanes = Lanes(self._further, self._fixed, self._limit, line, self._divide_from)
        lanes.hint(self._hint or (GUESS if line.round_trip_s >= LONG_S else 0))
        self._opening = asyncio.create_task(lanes.run(), name="connections")

    def expect(self, size: int, files: int) -> None:
        """So many bytes more, in so many files, will have to be moved."""
        if self._lanes is not None:
            self._lanes.expect(size, files)
        else:
            self._hint += size

    async def _lane(self, connection: asyncssh.SSHClientConnection, start: HeadStart) -> Lane:
        try:
            async with asyncio.timeout(OPEN_LIMIT_S):
                return Lane(connection, await start.wire(connection))
        except (asyncssh.Error, OSError, TimeoutError) as error:
            lost = connection.is_closed()
            connection.abort()
            if lost or isinstance(error, OSError):  # it says nothing about what the server can do
                raise ConnectionLost(
                    "The connection to the server broke; start the transfer again to go on.",
                    internal_message=f"{type(error).__name__}: {error}",
                ) from error
            raise TargetError(
                f"{self._endpoint} lets this user log in but not transfer files (no SFTP).",
                internal_message=f"{type(error).__name__}: {error}",
            ) from error
        except BaseException:
            connection.abort()
            raise

    async def _further(self, logged_in: Callable[[], None]) -> Lane:
        async def log_in(start: HeadStart) -> Lane:
            haste = Haste(turn=self._method, behind=start if self._hurries else None)
            connected = await connect(self._endpoint, self._credentials, self._known, _never, haste=haste)
            logged_in()
            return await self._lane(connected.connection, start)

        # What the first one logged in with is good: a server that was sent it is about to let this one in,
        # and a connection begun now gets there a round trip later.
        return await self._step_by_step_if_need_be(HeadStart(logged_in), log_in)

    def _limit(self) -> float | None:
        """The rate limit in bytes/s."""
        block = self.limiter.block_limit()
        return None if block >= UNLIMITED_BLOCK else block / SLICE_S

    async def close(self, *, well: bool) -> None:
        """End them; `well`: the transfer ended by itself, so the next one may go on with what is kept."""
        if self._lanes is None or self._opening is None:
            return
        self._method.cancel()
        try:
            await self._stop_opening(self._opening)
            if well:
                await self._end_well(self._lanes)
        except BaseException:
            self._lanes.abort()
            raise
        if not well:
            self._lanes.abort()  # a stop has a second; a polite goodbye may take the line's whole queue

    async def _stop_opening(self, opening: asyncio.Task[None]) -> None:
        opening.cancel()
        (reason,) = await asyncio.gather(opening, return_exceptions=True)
        if isinstance(reason, Exception):  # what it expects, it handles itself
            _log.error("opening further connections broke", exc_info=reason)

    async def _end_well(self, all_lanes: Lanes) -> None:
        lanes = all_lanes.all
        if self._kept is not None and self._first is not None:
            lanes = self._kept.keep(self._owner, self._first, all_lanes.line, lanes)
        for lane in lanes:
            lane.connection.close()
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                for lane in lanes:
                    await lane.connection.wait_closed()
        except (TimeoutError, asyncssh.Error, OSError) as reason:
            _log.info("closing the connection to %s: %s", self._endpoint, reason)
            for lane in lanes:
                lane.abort()


async def _never(_key: str, _fingerprint: str) -> bool:
    return False
