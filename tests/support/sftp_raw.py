"""An SFTP client that sends exactly the bytes a test wants, many requests at once and without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncssh

from connect_helper.server.sftp import packets
from tests.support.sftp_server import USER, FarEnd


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


NO_ATTRS = struct.pack(">I", 0)


@dataclass
class RawClient:
    """Numbers requests from 1; `answers` holds kind and body by number, in the order they came."""

    writer: asyncssh.SSHWriter[bytes]
    reader: asyncssh.SSHReader[bytes]
    answers: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    last: int = 0

    def ask(self, kind: int, body: bytes) -> int:
        """Send a request; returns its number."""
        self.last += 1
        self.writer.write(struct.pack(">IBI", 5 + len(body), kind, self.last) + body)
        return self.last

    def extended(self, name: bytes, body: bytes = b"") -> int:
        return self.ask(packets.EXTENDED, text(name) + body)

    def open(self, path: bytes, flags: int) -> int:
        return self.ask(packets.OPEN, text(path) + struct.pack(">I", flags) + NO_ATTRS)

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        return self.ask(packets.WRITE, text(handle) + struct.pack(">Q", offset) + text(data))

    def read(self, handle: bytes, offset: int, size: int) -> int:
        return self.ask(packets.READ, text(handle) + struct.pack(">QI", offset, size))

    async def packet(self) -> tuple[int, bytes]:
        """The next packet: kind and the rest."""
        async with asyncio.timeout(30):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            body = await self.reader.readexactly(size)
        return body[0], body[1:]

    async def answer(self, number: int) -> tuple[int, bytes]:
        """The answer to one request; others that come before it are kept."""
        while number not in self.answers:
            kind, body = await self.packet()
            self.answers[int.from_bytes(body[:4], "big")] = (kind, body[4:])
        return self.answers[number]

    async def status(self, number: int) -> packets.Status:
        kind, body = await self.answer(number)
        assert kind == packets.STATUS, (kind, body)
        return packets.Status(int.from_bytes(body[:4], "big"))

    async def handle(self, number: int) -> bytes:
        kind, body = await self.answer(number)
        assert kind == packets.HANDLE, (kind, body)
        return body[4:]

    async def data(self, number: int) -> bytes:
        kind, body = await self.answer(number)
        assert kind == packets.DATA, (kind, body)
        return body[4:]


@contextlib.asynccontextmanager
async def raw_client(
    end: FarEnd, *, token: str = "", greet: bool = True, address: str = ""
) -> AsyncIterator[RawClient]:
    """A session by key or token; `greet` exchanges the versions, `address` is where the client comes from."""
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{end.port} {end.host_key.export_public_key().decode()}")
    async with asyncssh.connect(
        "127.0.0.1",
        end.port,
        username=USER,
        known_hosts=known,
        config=None,
        agent_path=None,
        client_keys=None if token else [end.key],
        password=token or None,
        local_addr=(address, 0) if address else None,
    ) as connection:
        writer, reader, _errors = await connection.open_session(subsystem="sftp", encoding=None)
        client = RawClient(writer, reader)
        if greet:
            writer.write(struct.pack(">IBI", 5, packets.INIT, 3))
            kind, body = await client.packet()
            assert kind == packets.VERSION
            assert body[:4] == struct.pack(">I", 3)
        yield client
