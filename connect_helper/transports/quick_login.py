"""Fewer round trips for a login, for on a long line each of them costs as much as a megabyte.

The library first asks for what it may not have (method "none"), then whether a key would do, then shows that
it holds it, and waits for each answer. Here the first request is the one that counts: a key signs at once
(RFC 4252 section 7 makes the question optional), a further connection takes the method that worked before,
and a server known to read requests one after the other gets the login together with the request for the
service that takes it, and the opening of SFTP right behind. Further connections may exchange keys while the
first one logs in; what they log in with waits for its success, so that a wrong password counts once.
Where the library's insides are not those this was written for, it goes its own way.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import asyncssh
from asyncssh.auth import _ClientPublicKeyAuth

_log = logging.getLogger(__name__)

Method = Literal["publickey", "password", "keyboard-interactive"]

READS_IN_ORDER: Final = "OpenSSH"  # in the version of a server
_SERVICE: Final = b"ssh-userauth"
_ONE_REQUEST: Final = (b"publickey", b"password")  # methods of which one request is the whole login
_NEEDED: Final = (
    "try_next_auth", "send_service_request", "send_userauth_request",
    "_auth", "_auth_methods", "_client_keys",
)  # fmt: skip


class Behind(Protocol):
    """What is sent right behind a login, before the server has answered it."""

    def begin(self, connection: asyncssh.SSHClientConnection) -> None:
        """Send it now."""
        ...

    def refused(self) -> None:
        """That login failed, and what was behind it with it."""
        ...


@dataclass(frozen=True, slots=True)
class Haste:
    """What is known about a login before the server says it."""

    method: Method | None = None  # the one the server wants
    turn: asyncio.Future[Method] | None = None  # nothing to log in with leaves before it tells the method
    behind: Behind | None = None


def reads_in_order(connection: asyncssh.SSHClientConnection) -> bool:
    """Tell whether the server handles what comes behind a request it has not answered yet."""
    return READS_IN_ORDER in str(connection.get_extra_info("server_version", ""))


def can_hurry(connection: Any) -> bool:
    """Tell whether the library's insides are those this was written for."""
    missing = [name for name in _NEEDED if not hasattr(connection, name)]
    if missing or not hasattr(_ClientPublicKeyAuth, "_send_signed_request"):
        _log.info("logging in takes its time; not found: %s", missing)
        return False
    return True


def quicken(connection: Any, haste: Haste) -> None:
    """Let a connection that begins log in as quickly as `haste` allows."""
    if (haste.method is not None or haste.turn is not None) and can_hurry(connection):
        _Quick(connection, haste)


class _Quick:
    """Stands before three steps of one connection's login."""

    def __init__(self, connection: Any, haste: Haste) -> None:
        self._connection = connection
        self._method = haste.method
        self._turn = haste.turn
        self._behind = haste.behind
        self._begun = False
        self._early = False  # the login went out before the service was granted
        self._granted = False
        self._try_next = connection.try_next_auth
        self._ask_service = connection.send_service_request
        self._request = connection.send_userauth_request
        connection.try_next_auth = self._next
        connection.send_service_request = self._service

    def _service(self, service: bytes) -> None:
        self._ask_service(service)
        if service != _SERVICE:
            return
        if self._waits:
            assert self._turn is not None  # noqa: S101 - that is what `_waits` says
            self._turn.add_done_callback(self._turn_came)
        else:
            self._begin_early()

    @property
    def _waits(self) -> bool:
        return self._turn is not None and not self._turn.done()

    def _turn_came(self, turn: asyncio.Future[Method]) -> None:
        if turn.cancelled():
            self._connection.abort()
        elif self._begun:
            return  # the grant of the service came in between, and found the turn already there
        elif self._granted:
            self._begin()
        else:
            self._begin_early()

    def _begin_early(self) -> None:
        if reads_in_order(self._connection) and not self._depends_on_server():
            self._early = True
            self._begin()

    def _depends_on_server(self) -> bool:
        """What an RSA key signs with is for the server to say, a moment later."""
        keys = self._connection._client_keys or ()
        return self._wanted == b"publickey" and any(b"rsa" in bytes(key.algorithm) for key in keys)

    @property
    def _wanted(self) -> bytes:
        method = self._turn.result() if self._turn is not None else self._method
        return (method or "").encode("ascii")

    def _next(self, *, next_method: bool = False) -> None:
        self._granted = True
        if self._early:
            self._early = False  # the service is granted: what was to begin now is on its way
            _acknowledge(self._connection)
        elif self._begun:
            if self._behind is not None:
                self._behind.refused()
            self._try_next(next_method=next_method)
        elif not self._waits:
            self._begin()

    def _begin(self) -> None:
        self._begun = True
        connection, wanted = self._connection, self._wanted
        connection._auth_methods = [wanted]
        if self._behind is not None and wanted in _ONE_REQUEST and reads_in_order(connection):
            connection.send_userauth_request = self._logging_in
        if wanted == b"publickey":
            connection._auth = _SignsAtOnce(connection, wanted)
        else:
            self._try_next()

    async def _logging_in(self, *parts: Any, **options: Any) -> None:
        del self._connection.send_userauth_request
        await self._request(*parts, **options)
        if self._behind is not None:
            self._behind.begin(self._connection)


def _acknowledge(connection: asyncssh.SSHClientConnection) -> None:
    """Confirm what came at once: a server sends its next small packet only then (Nagle's algorithm)."""
    sock = connection.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _SignsAtOnce(_ClientPublicKeyAuth):
    """A key that signs without asking first whether it may."""

    async def _start(self) -> None:
        self._keypair = await self._conn.public_key_auth_requested()
        if self._keypair is None:
            self._conn.try_next_auth(next_method=True)
            return
        await self._send_signed_request()
