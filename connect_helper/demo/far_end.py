"""The demo's SSH server: one folder, one user, one random password, files only.

It listens on 127.0.0.1, offers no shell and no forwarding, and lets nobody out of its folder.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncssh

USER = "demo"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a page's server must know of an SSH server to write transfer specs for it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    fingerprint: str  # of the host key, "SHA256:..."
    root: Path  # what the user sees as "/"


class FarEnd:
    """The server, running while its context is entered. `root` must exist."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._password = secrets.token_urlsafe(18)
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    @property
    def facts(self) -> ServerFacts:
        """Facts of the running server. Raises RuntimeError before it runs."""
        if self._acceptor is None:
            raise RuntimeError("the server is not running")
        return ServerFacts(
            host="127.0.0.1",
            port=self._acceptor.get_port(),
            user=USER,
            password=self._password,
            fingerprint=self._key.get_fingerprint("sha256"),
            root=self._root,
        )

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = await asyncssh.listen(
            sock=listener,
            config=None,
            server_factory=lambda: _Login(self._password, self._connections),
            server_host_keys=[self._key],
            sftp_factory=lambda channel: _FilesOnly(channel, chroot=os.fsencode(self._root)),
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._acceptor is None:
            return
        self._acceptor.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._acceptor.wait_closed()
        self._acceptor = None


class _Login(asyncssh.SSHServer):
    """Takes the one user with the password; everything else asyncssh refuses by itself."""

    def __init__(self, password: str, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._password = password
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        same = hmac.compare_digest(password.encode(), self._password.encode())
        return same and username == USER


class _FilesOnly(asyncssh.SFTPServer):
    """No links: a link could lead out of the folder, and the demo has no use for one."""

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("This server keeps no links")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("This server keeps no links")
