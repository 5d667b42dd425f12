"""Which connection small requests go over: few of them, so that many requests share a packet.

Packets and calls of the system cost more than the small requests in them. So a connection gets all of them
until it has enough to do, and only then the next one: a server that takes long for each still answers those
of all connections at once. Where packets get lost, one connection would wait for each lost one, so all
connections share what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connect_helper.transports.lane import Lane
from connect_helper.transports.tcp_facts import TcpFacts

SMALL_FILE: Final = 16 * 1024  # bytes; files up to this size share packets, or nearly so
REQUESTS: Final = 128  # under way on one connection before the next one gets some
FILES: Final = 32  # the same; each becomes five requests once it is open
BYTES: Final = 128 * 1024  # of files, the same; so much a connection carries without having to wait
CALM_S: Final = 10.0  # so long after a packet was lost all connections share


class Packing:
    """All methods belong to the event loop."""

    def __init__(self) -> None:
        self._packs = True
        self._lost = 0  # packets, all told
        self._calm_from = 0.0  # monotonic

    def look(self, facts: Sequence[TcpFacts | None], now: float) -> None:
        """Take in what the system says about each connection; None where it says nothing."""
        lost = sum(one.disturbed for one in facts if one is not None)
        if lost > self._lost:
            self._calm_from = now + CALM_S
        self._lost = lost
        self._packs = now >= self._calm_from and None not in facts

    def choose(self, lanes: Sequence[Lane], size: int) -> Lane | None:
        """The first connection that has room for a request with `size` bytes; None: let all share."""
        if self._packs:
            for lane in lanes:
                if _has_room(lane, size) and not (lane.on_way or lane.is_stalled):
                    return lane
        return None


def _has_room(lane: Lane, size: int) -> bool:
    # One over which little has gone yet would have to wait for its first packets to be confirmed.
    carries = min(BYTES, SMALL_FILE + lane.moved)
    return lane.wire.owed < REQUESTS and lane.users < FILES and lane.small + size <= carries
