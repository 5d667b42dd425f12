"""Connections that stay open for a moment after a transfer, for the next one to the same place.

On a long line logging in takes half a second and more, and a page often starts one transfer right after
another. Only whoever shows the same server, user and secrets gets what was left, the server's key is judged
again, and after a few seconds it is closed. Nothing is kept of a transfer that failed or was stopped, of one
that came by a token, which is good for that transfer alone, nor where a login takes no time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connect_helper.transports.host_keys import KnownKeys, Verdict, judge
from connect_helper.transports.lane import Lane
from connect_helper.transports.line import Line
from connect_helper.transports.ssh_connection import Connected, Credentials, Endpoint

KEPT_S: Final = 15.0
MOST: Final = 16  # connections, all told
LONG_S: Final = 0.02  # a round trip for which it is worth it


@dataclass(frozen=True, slots=True, repr=False)
class Owner:
    """Who may use a connection: whoever would have made the same one. No repr: it holds secrets."""

    host: str
    port: int
    addresses: frozenset[str]
    credentials: Credentials

    @classmethod
    def of(cls, endpoint: Endpoint, credentials: Credentials) -> Owner:
        return cls(endpoint.host, endpoint.port, frozenset(endpoint.addresses), credentials)


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier transfer left; `connected` tells of its first connection."""

    connected: Connected
    line: Line
    lanes: list[Lane]
    since: float  # by the clock on the wall: the other one stands still while a laptop sleeps
    timer: asyncio.TimerHandle


class KeptConnections:
    """Those of one process. Close it at the end."""

    def __init__(self, kept_s: float = KEPT_S, long_s: float = LONG_S) -> None:
        """`kept_s`: for how long; `long_s`: a round trip for which it is worth it. Seconds."""
        self._kept_s = kept_s
        self._long_s = long_s
        self._left: dict[Owner, Left] = {}  # the oldest first

    def __len__(self) -> int:
        return sum(len(left.lanes) for left in self._left.values())

    def keep(self, owner: Owner, connected: Connected, line: Line, lanes: Sequence[Lane]) -> list[Lane]:
        """Take over what may be of use to another transfer; return the connections to be closed."""
        if line.round_trip_s < self._long_s or owner.credentials.is_token:
            return list(lanes)
        good = [lane for lane in lanes if lane.is_at_rest][:MOST]
        if not good or good[0] is not lanes[0]:  # without the first one there is nothing to go on with
            return list(lanes)
        self._drop(owner)
        while self._left and len(self) + len(good) > MOST:
            self._drop(next(iter(self._left)))
        for lane in good:
            lane.rest()
        timer = asyncio.get_running_loop().call_later(self._kept_s, self._drop, owner)
        self._left[owner] = Left(connected, line, good, time.time(), timer)
        return [lane for lane in lanes if lane not in good]

    def take(self, owner: Owner, known: KnownKeys) -> Left | None:
        """What was left of an equal transfer, if it still serves; it is the caller's from here on."""
        left = self._left.pop(owner, None)
        if left is None:
            return None
        left.timer.cancel()
        alive = [lane for lane in left.lanes if lane.is_at_rest]
        fresh = 0 <= time.time() - left.since <= self._kept_s
        trusted = judge(known, left.connected.key) is Verdict.TRUSTED
        if not fresh or not trusted or not alive or alive[0] is not left.lanes[0]:
            _abort(left.lanes)
            return None
        left.lanes[:] = alive
        left.line.begin_again()
        return left

    async def close(self) -> None:
        """Let go of all of them."""
        lanes = [lane for left in self._left.values() for lane in left.lanes]
        for owner in list(self._left):
            self._drop(owner)
        for lane in lanes:
            await lane.connection.wait_closed()

    def _drop(self, owner: Owner) -> None:
        left = self._left.pop(owner, None)
        if left is not None:
            left.timer.cancel()
            _abort(left.lanes)


def _abort(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.abort()
