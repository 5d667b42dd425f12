"""The byte stream of one SSH channel: the library's own way, and a leaner one for the same connection.

The leaner one is that of the room `wire`. It knows the library's insides: where one of them is missing or of
another kind, `open_pipe` gives the plain way, which needs nothing but the public interface.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import asyncssh

from connect_helper.transports.early_channel import EarlyChannel
from connect_helper.wire.allowance import FixedAllowance
from connect_helper.wire.connection import LeanConnection, fits
from connect_helper.wire.writer import Data


class Receiver(Protocol):
    """Who gets what arrives."""

    def received(self, data: Data) -> None:
        """Take the next bytes of the stream; they stay valid and unchanged."""
        ...

    def lost(self, reason: Exception | None) -> None:
        """Nothing more will arrive."""
        ...


class Pipe(Protocol):
    """The way out."""

    def send(self, *parts: Data) -> None:
        """Send bytes one after the other; they may be sent later, but in order and unchanged by then."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes given to `send` that have not left."""
        ...


class _Session(asyncssh.SSHClientSession[bytes]):
    """Hands what the library delivers to the receiver."""

    def __init__(self, receiver: Receiver, greeting: bytes) -> None:
        self._receiver = receiver
        self._greeting = greeting

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        if self._greeting:  # behind the request for the subsystem, which the library is about to make
            asyncio.get_running_loop().call_soon(chan.write, self._greeting)

    def data_received(self, data: Data, datatype: int | None) -> None:
        if datatype is None:  # what a server writes to its error stream is no SFTP
            self._receiver.received(data)

    def eof_received(self) -> bool:
        self._receiver.lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.lost(exc)


class PlainPipe:
    """The library's own way."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def send(self, *parts: Data) -> None:
        self._channel.write(b"".join(parts))

    @property
    def waiting(self) -> int:
        return self._channel.get_write_buffer_size()


async def open_pipe(
    connection: asyncssh.SSHClientConnection,
    receiver: Receiver,
    *,
    subsystem: str,
    window: int,
    packet: int,
    greeting: bytes = b"",
    early: bool = False,
    lean: bool = True,
) -> Pipe:
    """Open a channel for `subsystem`. Raises asyncssh.Error, OSError.

    `greeting` is sent without waiting for the subsystem to be there, `early` before the login is over; the
    server has to read in order. `window` and `packet` are bytes the server may send before we confirm, and
    in one packet.
    """
    ahead = EarlyChannel(connection, subsystem, greeting) if early else None
    try:
        channel, _session = await connection.create_session(
            lambda: _Session(receiver, b"" if early else greeting),
            subsystem=subsystem,
            encoding=None,
            window=window,
            max_pktsize=packet,
        )
    finally:
        if ahead is not None:
            ahead.over()
    typed = cast("asyncssh.SSHClientChannel[bytes]", channel)
    if lean and fits(connection, channel):
        return LeanConnection(connection, FixedAllowance(), _is_ours).writer(channel, lambda: None)
    return PlainPipe(typed)


def _is_ours(session: object) -> bool:
    return isinstance(session, _Session)
