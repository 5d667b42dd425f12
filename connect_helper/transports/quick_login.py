"""Fewer round trips for a login, for on a long line each of them costs as much as a megabyte.

The library first asks for what it may not have (method "none"), then whether a key would do, then shows that
it holds it, and waits for each answer. Here the first request is the one that counts: a key signs at once
(RFC 4252 section 7 makes the question optional), a further connection takes the method that worked before,
and a server known to read requests one after the other gets the login together with the request for the
service that takes it. Where the library's insides are not those this was written for, it goes its own way.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Literal

import asyncssh
from asyncssh.auth import _ClientPublicKeyAuth

_log = logging.getLogger(__name__)

Method = Literal["publickey", "password", "keyboard-interactive"]

READS_IN_ORDER: Final = "OpenSSH"  # in the version of a server
_SERVICE: Final = b"ssh-userauth"
_NEEDED: Final = ("try_next_auth", "send_service_request", "_auth", "_auth_methods", "_client_keys")


def reads_in_order(connection: asyncssh.SSHClientConnection) -> bool:
    """Tell whether the server handles what comes behind a request it has not answered yet."""
    return READS_IN_ORDER in str(connection.get_extra_info("server_version", ""))


def quicken(connection: Any, method: Method | None) -> None:
    """Let a connection that begins log in with `method` at once; None: whatever the server wants."""
    if method is None:
        return
    missing = [name for name in _NEEDED if not hasattr(connection, name)]
    if missing or not hasattr(_ClientPublicKeyAuth, "_send_signed_request"):
        _log.info("logging in takes its time; not found: %s", missing)
        return
    _Quick(connection, method)


class _Quick:
    """Stands before two steps of one connection's login."""

    def __init__(self, connection: Any, method: Method) -> None:
        self._connection = connection
        self._method = method.encode("ascii")
        self._begun = False
        self._early = False  # the login went out before the service was granted
        self._try_next = connection.try_next_auth
        self._ask_service = connection.send_service_request
        connection.try_next_auth = self._next
        connection.send_service_request = self._service

    def _service(self, service: bytes) -> None:
        self._ask_service(service)
        if service == _SERVICE and reads_in_order(self._connection) and not self._depends_on_server():
            self._early = True
            self._begin()

    def _depends_on_server(self) -> bool:
        """What an RSA key signs with is for the server to say, a moment later."""
        keys = self._connection._client_keys or ()
        return self._method == b"publickey" and any(b"rsa" in bytes(key.algorithm) for key in keys)

    def _next(self, *, next_method: bool = False) -> None:
        if self._early:
            self._early = False  # the service is granted: what was to begin now is on its way
        elif not self._begun:
            self._begin()
        else:
            self._try_next(next_method=next_method)

    def _begin(self) -> None:
        self._begun = True
        self._connection._auth_methods = [self._method]
        if self._method == b"publickey":
            self._connection._auth = _SignsAtOnce(self._connection, self._method)
        else:
            self._try_next()


class _SignsAtOnce(_ClientPublicKeyAuth):
    """A key that signs without asking first whether it may."""

    async def _start(self) -> None:
        self._keypair = await self._conn.public_key_auth_requested()
        if self._keypair is None:
            self._conn.try_next_auth(next_method=True)
            return
        await self._send_signed_request()
