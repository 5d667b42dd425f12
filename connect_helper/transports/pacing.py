"""Spreads what a connection sends over each round trip, where the line is long (Linux; elsewhere nothing).

TCP may send all that a round trip takes in one burst, and a burst overflows the queue before the narrowest
place of the line. A connection that has a highest rate is paced by the system (SO_MAX_PACING_RATE of
socket(7)), at the rate TCP itself has in mind where the highest one is out of reach.
"""

from __future__ import annotations

import socket
import sys
import weakref
from contextlib import suppress
from typing import Final

_SO_MAX_PACING_RATE: Final = 47  # <asm-generic/socket.h>
_OUT_OF_REACH: Final = 2_000_000_000  # bytes/s

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
"""As getaddrinfo(3) gives it: family, type, protocol, name, address."""


def pace(sock: socket.socket) -> None:
    """Have a connection spread what it sends."""
    if sys.platform == "linux":
        with suppress(OSError):  # it is gone, or the system knows nothing of it
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _OUT_OF_REACH.to_bytes(4, sys.byteorder))


class PacedSockets:
    """The sockets of one session; paced once somebody says that their line is long."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._line_is_long = False

    def make(self, address: AddressInfo) -> socket.socket:
        """A new socket for an address."""
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        self._sockets.add(sock)
        if self._line_is_long:
            pace(sock)
        return sock

    def line_is_long(self) -> None:
        self._line_is_long = True
        for sock in self._sockets:
            pace(sock)
