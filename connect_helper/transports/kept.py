"""Connections that stay open for a moment after a transfer, for the next one to the same place.

On a long line logging in takes half a second and more, and a page often starts one transfer right after
another. Only whoever shows the same server, user and secrets gets what was left, the server's key is judged
again, and after a few seconds it is closed. Nothing is kept of a transfer that failed or was stopped, of one
that came by a token, which is good for that transfer alone, nor where a login takes no time. And not those
that lost packets, but for the first one: a new one is quicker.
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
from connect_helper.transports.ssh_connection import Connected, Credentials, Endpoint, key_line

KEPT_S: Final = 15.0
MOST: Final = 64  # connections, all told
LONG_S: Final = 0.02  # a round trip for which it is worth it
ASKED_AFTER_S: Final = 3.0  # whether they are still there
ANSWER_S: Final = 1.0  # for an answer to that, or
ANSWER_ROUND_TRIPS: Final = 4


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
        good = [lane for lane in lanes if lane.is_at_rest and (lane is lanes[0] or not _is_slow(lane, line))]
        del good[MOST:]
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

    async def take(self, owner: Owner, known: KnownKeys, most: int | None = None) -> Left | None:
        """What was left of an equal transfer, if it still serves; it is the caller's from here on.

        `most`: no more connections than that.
        """
        left = self._left.pop(owner, None)
        if left is None:
            return None
        left.timer.cancel()
        age_s = time.time() - left.since
        try:
            lanes = [lane for lane in left.lanes if lane.is_at_rest and _is_trusted(lane, known)][:most]
            if age_s > ASKED_AFTER_S:
                lanes = await _that_answer(lanes, left.line.round_trip_s)
        except BaseException:
            _abort(left.lanes)
            raise
        if not 0 <= age_s <= self._kept_s or lanes[:1] != left.lanes[:1]:
            _abort(left.lanes)  # without the first one there is nothing to go on with
            return None
        _abort([lane for lane in left.lanes if lane not in lanes])
        left.lanes[:] = lanes
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


def _is_slow(lane: Lane, line: Line) -> bool:
    """Tell whether a new connection would be quicker: this one would remember the packets that were lost.

    Where packets are lost because they queued up, that is how TCP finds out what the line takes, and `line`
    holds it back now.
    """
    facts = lane.tcp_facts()
    return facts is not None and facts.disturbed > 0 and (line.is_lossy or not line.was_full)


def _is_trusted(lane: Lane, known: KnownKeys) -> bool:
    """Each connection showed a key of its own: of two machines of one name, one may be trusted no more."""
    key = lane.connection.get_server_host_key()
    return key is not None and judge(known, key_line(key)) is Verdict.TRUSTED


async def _that_answer(lanes: Sequence[Lane], round_trip_s: float) -> list[Lane]:
    """A connection may break unseen while nobody uses it: a router forgets it, say."""
    asked = {lane.wire.ping(): lane for lane in lanes if not lane.wire.is_lost}
    if not asked:
        return []
    answered, _ = await asyncio.wait(asked, timeout=max(ANSWER_S, ANSWER_ROUND_TRIPS * round_trip_s))
    return [lane for answer, lane in asked.items() if answer in answered and answer.exception() is None]


def _abort(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.abort()
