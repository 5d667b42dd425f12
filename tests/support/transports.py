"""Transports by themselves: opened on a test server, with files in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from connect_helper.transports.base import BlockHashes, SendItem
from connect_helper.transports.connections import Connections
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.kept import KeptConnections
from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.ssh_connection import Credentials, Endpoint
from tests.support.sshd import PasswordServer, SshServer


@asynccontextmanager
async def open_transport(
    server: SshServer | PasswordServer,
    connections: int | None = None,
    divide_from: int | None = None,
    kept: KeptConnections | None = None,
) -> AsyncIterator[SftpTransport]:
    async def never(key: str, fingerprint: str) -> bool:
        raise AssertionError("the key is known")

    if isinstance(server, SshServer):
        login = Credentials(server.user, private_key=server.client_key)
    else:
        login = Credentials(server.user, password=server.password)
    endpoint = Endpoint("h.example", server.port, ("127.0.0.1",))
    known = KnownKeys(trusted=(server.host_key_line,))
    limiter = TokenBucket(None)
    all_of_them = Connections(endpoint, login, known, never, limiter, connections, divide_from, kept)
    async with SftpTransport(all_of_them) as transport:
        yield transport


class Memory:
    """A local file in memory, as source and as target."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)

    @property
    def held(self) -> None:
        return None

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def check(self) -> None:
        return None

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        assert offset == len(self.content)
        self.content += b"".join(data)


def sending(content: bytes, partial: bytes, *, exclusive: bool = True) -> tuple[SendItem, list[int]]:
    counts: list[int] = []
    return SendItem(Memory(content), partial, 0, BlockHashes("sha256"), counts.append, exclusive), counts
