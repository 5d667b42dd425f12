"""Logs in to a server of the tests whose key was looked at before: no password leaves for another one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import asyncssh


class KnownServer:
    """A login on loopback: await it for the connection, or use it as a context that closes it.

    With `fingerprint` the server's key has to be that one.
    """

    def __init__(self, port: int, user: str, password: str, fingerprint: str = "") -> None:
        self._port = port
        self._user = user
        self._password = password
        self._fingerprint = fingerprint
        self._connection: asyncssh.SSHClientConnection | None = None

    def __await__(self) -> Generator[Any, None, asyncssh.SSHClientConnection]:
        return self._log_in().__await__()

    async def __aenter__(self) -> asyncssh.SSHClientConnection:
        self._connection = await self._log_in()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
            await self._connection.wait_closed()

    async def _log_in(self) -> asyncssh.SSHClientConnection:
        key = await asyncssh.get_server_host_key("127.0.0.1", self._port, config=None)
        assert key is not None
        assert self._fingerprint in ("", key.get_fingerprint())
        return await asyncssh.connect(
            "127.0.0.1",
            self._port,
            username=self._user,
            password=self._password,
            known_hosts=([key], [], []),
            client_keys=None,
            agent_path=None,
            config=None,
        )
