"""One connection of a session, with one SFTP session on it: what is on its way, how quickly answers come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

import asyncssh

from connect_helper.transports.error_map import Side
from connect_helper.transports.sftp_answers import Answer
from connect_helper.transports.sftp_wire import SftpWire
from connect_helper.transports.ssh_errors import remote_error
from connect_helper.transports.tcp_facts import TcpFacts, tcp_facts
from connect_helper.transports.window import Window

LARGEST_BLOCK: Final = 1024 * 1024
UNKNOWN_LIMIT: Final = 32 * 1024  # what every server has to take (draft 02, section 3)
UNKNOWN_S: Final = 60.0
WAITING: Final = 512 * 1024  # bytes that may wait for the server's window, or
WAITING_BLOCKS: Final = 2
STALLED_S: Final = 0.25  # without an answer, or
STALLED_ROUND_TRIPS: Final = 4

_T = TypeVar("_T")


class Lane:
    """One connection with one SFTP session on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, wire: SftpWire) -> None:
        self.connection = connection
        self.wire = wire
        self.largest_read = min(wire.limits.read or UNKNOWN_LIMIT, LARGEST_BLOCK)
        self.largest_write = min(wire.limits.write or UNKNOWN_LIMIT, LARGEST_BLOCK)
        self.window = Window(min(self.largest_read, self.largest_write), time.monotonic)
        self._may_wait = max(WAITING, WAITING_BLOCKS * self.largest_write)
        self.on_way = 0  # bytes
        self.moved = 0  # bytes, all told
        self.small = 0  # bytes of the files on it that go in one piece
        self.users = 0  # files that use it at the moment
        self.round_trip_s = UNKNOWN_S  # quickest answer
        self.is_elsewhere = False  # it showed other files than the first one: another machine's, perhaps
        self._disturbed = 0  # packets, before this transfer
        self._heard_at = time.monotonic()
        wire.on_answer = self._heard

    def _heard(self) -> None:
        self._heard_at = time.monotonic()

    def load(self) -> tuple[int, int]:
        """How much it has to do; the least goes first."""
        return self.users, self.wire.owed

    @property
    def silent_s(self) -> float:
        """Seconds since the server last answered; 0 when it owes nothing."""
        return time.monotonic() - self._heard_at if self.wire.owed else 0.0

    @property
    def is_stalled(self) -> bool:
        """Tell whether the server owes answers for longer than they should take: a packet may be lost."""
        return self.silent_s > max(STALLED_S, STALLED_ROUND_TRIPS * min(self.round_trip_s, UNKNOWN_S))

    def tcp_facts(self) -> TcpFacts | None:
        """What the system knows about the connection, as far as this transfer is concerned."""
        facts = tcp_facts(self.connection.get_extra_info("socket"))
        return facts and replace(facts, disturbed=facts.disturbed - self._disturbed)

    @property
    def has_room(self) -> bool:
        """Tell whether another block may be on its way; with nothing there it always may."""
        if self.on_way == 0:
            return True
        # What waits here for the server's window could as well leave over another connection.
        return self.on_way < self.window.size and self.wire.waiting < self._may_wait

    @property
    def backlog_s(self) -> float:
        """Seconds until what is on its way has arrived, at the present rate."""
        return self.on_way / max(self.window.rate, 1.0)

    def asked(self) -> None:
        """A request leaves after a time in which the server owed nothing."""
        if not self.wire.owed:
            self._heard_at = time.monotonic()

    async def call(self, call: Awaitable[_T], side: Side, name: bytes) -> _T:
        """Await one request: translate its error, measure how quickly the server answers."""
        self.asked()
        began = time.monotonic()
        try:
            answer = await call
        except (asyncssh.Error, OSError, ValueError) as error:
            raise remote_error(error, side, name) from error
        self.round_trip_s = min(self.round_trip_s, time.monotonic() - began)
        self.window.round_trip_s = self.round_trip_s
        return answer

    async def answer(
        self, asked: asyncio.Future[Answer], read: Callable[[Answer], _T], side: Side, name: bytes
    ) -> _T:
        """Await a request that was made before others were answered, and translate its error."""
        try:
            return read(await asked)
        except (asyncssh.Error, OSError, ValueError) as error:
            raise remote_error(error, side, name) from error

    @property
    def is_at_rest(self) -> bool:
        """Tell whether it could serve another transfer."""
        return not (self.wire.is_lost or self.connection.is_closed() or self.on_way or self.is_stalled)

    def rest(self) -> None:
        """Nobody uses it for now, and nobody wants to hear of it."""
        self.moved = self.users = self.small = 0
        facts = tcp_facts(self.connection.get_extra_info("socket"))
        self._disturbed = facts.disturbed if facts else 0
        self.wire.on_lost = lambda: None

    def abort(self) -> None:
        self.connection.abort()
