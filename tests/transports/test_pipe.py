"""The lean way through SSH: taken where it fits, over key exchanges, and left where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import ConnectError
from connect_helper.transports.base import BlockHashes, ReceiveItem
from connect_helper.transports.pipe import PlainPipe
from connect_helper.transports.sftp import SftpTransport
from connect_helper.wire import connection as wire
from connect_helper.wire.writer import LeanWriter
from tests.support.sessions import noise
from tests.support.sshd import PasswordServer, SshServer
from tests.support.transports import Memory, open_transport, sending

SIZE = 9_000_001


@pytest.fixture(scope="module", params=["", "RekeyLimit 1M\n", "Ciphers aes128-ctr\n"])
def sshd(request: pytest.FixtureRequest) -> Iterator[SshServer]:
    with SshServer(extra=request.param) as server:
        server.folder.joinpath("extra").write_text(request.param)
        yield server


async def both_ways(transport: SftpTransport, path: Path, name: bytes = b"") -> None:
    content, name = noise(SIZE), name or str(path).encode()
    item, counts = sending(content, name)
    await transport.send(item)
    assert path.read_bytes() == content
    assert sum(counts) == SIZE
    facts = await transport.facts(name)
    assert facts is not None
    target = Memory()
    await transport.receive(
        ReceiveItem(name, SIZE, facts.mtime_ns, target, 0, BlockHashes(), lambda _count: None)
    )
    assert bytes(target.content) == content


async def test_files_go_both_ways_whatever_the_server_is_set_to(sshd: SshServer) -> None:
    async with open_transport(sshd) as transport:
        ciphers = "Ciphers" in (sshd.folder / "extra").read_text()
        assert type(way_of(transport)) is (PlainPipe if ciphers else LeanWriter)
        await both_ways(transport, sshd.root / "film")
        assert await transport.digest(str(sshd.root / "film").encode(), "sha256", SIZE, expected="")
    (sshd.root / "film").unlink()


def way_of(transport: SftpTransport) -> object:
    return transport._all.first.wire._pipe


async def test_keys_are_exchanged_anew_when_we_are_the_one_to_ask(sshd: SshServer) -> None:
    async with open_transport(sshd, connections=1) as transport:
        connection: Any = transport._all.first.connection
        exchanges: list[int] = []
        begin = connection._send_kexinit
        connection._send_kexinit = lambda: (exchanges.append(1), begin())
        connection._rekey_bytes = 1_000_000
        await both_ways(transport, sshd.root / "film")
        assert len(exchanges) >= 4
    (sshd.root / "film").unlink()


@pytest.mark.parametrize("group", ["connection", "channel"])
async def test_a_library_of_another_make_gets_the_plain_way(
    monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    needed: dict[str, tuple[str, ...]] = {**wire._NEEDED, group: ("_renamed_in_a_later_version",)}
    monkeypatch.setattr(wire, "_NEEDED", needed)
    with SshServer() as server:
        async with open_transport(server) as transport:
            assert type(way_of(transport)) is PlainPipe
            await both_ways(transport, server.root / "film")


async def test_a_server_of_the_same_library() -> None:
    async with PasswordServer() as server, open_transport(server) as transport:
        await both_ways(transport, server.root / "film", b"/film")


async def test_a_flipped_bit_ends_the_connection(sshd: SshServer) -> None:
    async with open_transport(sshd) as transport:
        connection: Any = transport._all.first.connection
        reader = connection._transport.get_protocol()
        receive = reader.data_received if not hasattr(reader, "buffer_updated") else reader.buffer_updated

        def flip(data: Any) -> None:
            if isinstance(data, int):
                reader._view[reader._end + data - 1] ^= 1
                receive(data)
            else:
                receive(bytes(data[:-1]) + bytes([data[-1] ^ 1]))

        setattr(reader, "buffer_updated" if hasattr(reader, "buffer_updated") else "data_received", flip)
        connection._transport.set_protocol(reader)
        with pytest.raises(ConnectError):
            await transport.facts(b"/")
