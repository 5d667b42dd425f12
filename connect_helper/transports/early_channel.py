"""Opens a channel with its subsystem right behind the login, before the server has said yes to it.

A server that reads one message after the other (see `quick_login`) takes them in order, so on a long line
three or four round trips become none. That the channel will be number 0 is a guess that holds for the first
channel of OpenSSH's server; where the answer tells another number, the opening fails and nothing of it is
used. A server that refuses the login answers such messages with "unimplemented", which changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import asyncssh

_log = logging.getLogger(__name__)

CHANNEL_OPEN: Final = 90  # RFC 4254 section 9
CHANNEL_DATA: Final = 94
CHANNEL_REQUEST: Final = 98
GUESS: Final = 0  # the server's number for its first channel

_NEEDED: Final = {
    "connection": ("send_packet", "_auth_complete", "_deferred_packets"),
    "channel": ("process_open_confirmation", "_request_waiters", "_send_window", "_send_chan"),
}


class EarlyChannel:
    """Stands before `send_packet` of one connection while its first channel is being opened."""

    def __init__(self, connection: Any, subsystem: str, greeting: bytes) -> None:
        """`greeting` is the first data for the subsystem."""
        self._connection = connection
        self._greeting = greeting
        self._request = (
            GUESS.to_bytes(4, "big") + _string(b"subsystem") + b"\1" + _string(subsystem.encode("ascii"))
        )
        self._send: Callable[..., None] = connection.send_packet
        self._channel: Any = None
        self._granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        connection.send_packet = self._packet

    def over(self) -> None:
        """Step aside: the channel is open, or will not be."""
        if self._connection.__dict__.get("send_packet") == self._packet:
            del self._connection.send_packet

    def _packet(self, kind: int, *parts: bytes, handler: Any = None) -> None:
        if kind == CHANNEL_OPEN and self._channel is None:
            self._channel = handler
            self._confirm = handler.process_open_confirmation
            handler.process_open_confirmation = self._confirmed
            self._at_once(kind, *parts)
            self._at_once(CHANNEL_REQUEST, self._request)
            data = GUESS.to_bytes(4, "big") + _string(self._greeting)
            self._at_once(CHANNEL_DATA, data)
        elif kind == CHANNEL_REQUEST and handler is self._channel:
            self._asked_again(b"".join(parts))
        else:
            self._send(kind, *parts, handler=handler)

    def _at_once(self, kind: int, *parts: bytes) -> None:
        """The library would keep these until the login is over."""
        connection = self._connection
        complete, connection._auth_complete = connection._auth_complete, True
        try:
            self._send(kind, *parts)
        finally:
            connection._auth_complete = complete

    def _confirmed(self, number: int, *rest: Any) -> None:
        del self._channel.process_open_confirmation
        self._confirm(number, *rest)
        # Its answer may come before the library gets to ask.
        self._channel._request_waiters.append(self._granted)
        self._channel._send_window -= len(self._greeting)

    def _asked_again(self, request: bytes) -> None:
        """The library asks for the subsystem: that is done."""
        if request != self._request:
            raise asyncssh.ProtocolError("the server counts its channels in a way of its own")
        waiters = self._channel._request_waiters
        waiter = waiters.pop()  # of what would have been sent now
        self._granted.add_done_callback(lambda granted: _pass_on(granted, waiter))


def fits(connection: Any) -> bool:
    """Tell whether the library's insides are those this was written for."""
    missing = [name for name in _NEEDED["connection"] if not hasattr(connection, name)]
    if missing:
        _log.info("a channel is opened step by step; not found: %s", missing)
    return not missing


def _pass_on(granted: asyncio.Future[bool], waiter: asyncio.Future[bool]) -> None:
    if waiter.done():
        return
    if granted.cancelled():
        waiter.cancel()
    elif (error := granted.exception()) is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(granted.result())


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
