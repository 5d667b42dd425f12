"""Accepts connections that are to be encrypted, and bounds how many are agreeing on that at once.

A connection costs some hundred KiB of memory from the moment TLS begins, whether its client ever says a word.
So it is counted by where it comes from first, and waits as a bare socket while its neighbours are many: the
same rules as for logins over SSH, where half-open connections use up nobody's places but their own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import traceback
from collections.abc import Callable
from typing import Any, Final

from connect_helper.server.fast_lane import arrived
from connect_helper.server.login_limiter import network_of
from connect_helper.server.login_queue import Login, LoginQueue

_log = logging.getLogger(__name__)

AT_ONCE: Final = 400  # agreeing on TLS
AT_ONCE_PER_ADDRESS: Final = 100
LIMIT_S: Final = 15.0  # for agreeing
_WAIT_LIMIT_S: Final = 30.0  # for its turn
_BACKLOG: Final = 4096  # that the system keeps for us; a client beyond them tries again seconds later
_AT_ONE_GO: Final = 512  # connections taken before others have their turn
_REST_S: Final = 1.0  # when the system has no descriptor left


class TlsDoor:
    """Serves the connections of one bound socket with protocols of `factory`, until it is closed."""

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._factory = factory
        self._queue = LoginQueue(AT_ONCE, AT_ONCE_PER_ADDRESS)
        self._agreeing: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to accept."""
        self._sock.listen(_BACKLOG)
        self._sock.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="accept https")

    def close(self) -> None:
        """Accept no more; those that are agreeing go on."""
        if self._accepting is not None:
            self._accepting.cancel()
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()

    async def end(self) -> None:
        """End those that are still agreeing."""
        self.close()
        tasks = [*self._agreeing, *([self._accepting] if self._accepting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._sock)
            except OSError as error:
                _log.warning("no connection can be taken at the moment: %s", error.strerror)
                await asyncio.sleep(_REST_S)
                continue
            self._enter(connection, peer)
            self._accept_waiting()

    def _accept_waiting(self) -> None:
        """Take what else has come: a crowd must not fill the system's short queue while others knock."""
        for _ in range(_AT_ONE_GO):
            try:
                connection, peer = self._sock.accept()
            except OSError:
                return
            connection.setblocking(False)
            self._enter(connection, peer)

    def _enter(self, connection: socket.socket, peer: Any) -> None:
        arrived(connection)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ending: list[asyncio.Task[None]] = []

        def begin() -> None:
            if not turn.done():
                turn.set_result(None)

        login = Login(network_of(str(peer[0])), begin, lambda: ending[0].cancel())
        place = self._queue.enter(login)
        if place == "refused":
            connection.close()
            return
        if place == "begin":
            begin()
        task = asyncio.create_task(self._agree(connection, login, turn), name="agree on TLS")
        ending.append(task)
        self._agreeing.add(task)
        task.add_done_callback(self._agreeing.discard)

    async def _agree(self, connection: socket.socket, login: Login, turn: asyncio.Future[None]) -> None:
        """From the bare socket to the protocol; whoever does not get there is hung up on."""
        try:
            await self._its_turn(connection, turn)
            # What goes wrong in here is the client's: nothing of it is worth a line in the log. The socket
            # belongs to the transport now, which closes it; closed here too, its number would be given to
            # another connection while the transport still listens to it.
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory, connection, ssl=self._tls, ssl_handshake_timeout=LIMIT_S
            )
        except (OSError, TimeoutError) as error:
            # The frames hold each other, and with them the memory, until the collector comes by.
            traceback.clear_frames(error.__traceback__)
        finally:
            self._queue.leave(login)

    @staticmethod
    async def _its_turn(connection: socket.socket, turn: asyncio.Future[None]) -> None:
        """Wait until TLS may begin; a connection that does not get so far is closed."""
        try:
            async with asyncio.timeout(_WAIT_LIMIT_S):
                await turn
        except BaseException:
            connection.close()
            raise
