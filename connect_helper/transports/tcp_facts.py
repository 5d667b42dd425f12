"""What the system knows about a TCP connection (Linux; elsewhere nothing)."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from typing import Final

# Places in Linux's struct tcp_info: two in microseconds, two counts of packets.
_ROUND_TRIP: Final = 68
_SENT_AGAIN: Final = 100
_QUICKEST: Final = 148
_OUT_OF_ORDER: Final = 224
_SIZE: Final = 228


@dataclass(frozen=True, slots=True)
class TcpFacts:
    """Seconds of a round trip, and what of the line's losses shows at this end."""

    round_trip_s: float  # as it is at present, smoothed
    quickest_s: float  # lately
    disturbed: int  # packets sent again, or come out of order


def tcp_facts(sock: socket.socket | None) -> TcpFacts | None:
    """What the system measured, however late this program comes to look; None where it does not tell."""
    if sock is None or sys.platform != "linux":
        return None
    try:
        facts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except (AttributeError, OSError):
        return None
    if len(facts) < _SIZE:
        return None
    round_trip, again, quickest, out_of_order = (
        int.from_bytes(facts[at : at + 4], sys.byteorder)
        for at in (_ROUND_TRIP, _SENT_AGAIN, _QUICKEST, _OUT_OF_ORDER)
    )
    if not round_trip:
        return None
    quickest = min(quickest, round_trip) or round_trip
    return TcpFacts(round_trip / 1e6, quickest / 1e6, again + out_of_order)
