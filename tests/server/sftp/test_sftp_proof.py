"""By default our own server's digests are compared with ours, for small files and large ones, both ways."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from connect_helper.errors import TargetError
from connect_helper.server.sftp import digests, extensions
from connect_helper.transports.base import BlockHashes, ReceiveItem, SendItem
from connect_helper.transports.connections import Connections
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.lane import Lane
from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.sftp_sending import Sending
from connect_helper.transports.sftp_wire import SftpWire
from connect_helper.transports.ssh_connection import Credentials, Endpoint
from tests.server.sftp.test_sftp_helper import login, place, receive, send, until_written
from tests.support.command import finish, start
from tests.support.sftp_server import USER, FarEnd
from tests.support.transports import Memory

SIZES = {"nothing": 0, "byte": 1, "small": 70_000, "one block": 8 * 1024 * 1024, "large": 41_000_003}
MOVES = 10  # tries


@pytest.fixture
def tree(end: FarEnd) -> Path:
    """A folder with a file of each of `SIZES`."""
    folder = end.folder / "tree"
    folder.mkdir()
    for name, size in SIZES.items():
        (folder / name).write_bytes(os.urandom(size))
    return folder


def proofs(lines: list[dict[str, object]]) -> dict[str, object]:
    return {Path(str(line["path"])).name: line["proof"] for line in lines if line["type"] == "file"}


async def test_what_is_sent_and_fetched_is_compared_though_nobody_asks(end: FarEnd, tree: Path) -> None:
    compared = {name: "digest" if size else "size" for name, size in SIZES.items()}
    up = await send(end, "--json", tree, place(end, "/there"))
    assert up.code == 0, up.err
    assert proofs(up.lines) == compared
    down = await receive(end, "--json", place(end, "/there/tree"), end.folder / "back")
    assert down.code == 0, down.err
    assert proofs(down.lines) == compared


async def test_who_may_only_send_compares_too(end: FarEnd, tree: Path) -> None:
    (end.root / "in").mkdir()
    up = await send(end, "--json", tree, place(end, "/in"), token=end.token("send", "in"))
    assert up.code == 0, up.err
    assert proofs(up.lines) == {name: "digest" if size else "size" for name, size in SIZES.items()}


async def test_a_byte_that_flips_on_the_server_is_noticed_and_the_file_sent_again(end: FarEnd) -> None:
    film = end.folder / "film"
    film.write_bytes(os.urandom(24_000_000))
    partial = end.root / "film.partial"
    sending = asyncio.create_task(send(end, "--json", "--rate", "100M", film, place(end, "/")))
    await until_written(partial, 9_000_000)
    flip(partial, 1_000_000)
    up = await sending
    assert up.code == 0, up.err
    assert (end.root / "film").read_bytes() == film.read_bytes()
    assert sum(report.bytes_in for report in (*end.sessions.history(), *end.sessions.listing())) > 40_000_000


@pytest.mark.parametrize("size", [70_000, 20_000_000])
async def test_what_stays_damaged_gets_no_name(
    end: FarEnd, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*arguments: Any) -> digests.Slices[bytes]:
        found = yield from real(*arguments)
        return bytes(byte ^ 1 for byte in found)

    real = digests.check_file
    monkeypatch.setattr(extensions.digests, "check_file", check)
    film = end.folder / "film"
    film.write_bytes(os.urandom(size))
    up = await send(end, "--json", film, place(end, "/"))
    assert up.code == 1
    assert "checksum_mismatch" in up.out
    assert not (end.root / "film").exists()
    (end.root / "film").write_bytes(film.read_bytes())
    down = await receive(end, "--json", place(end, "/film"), end.folder / "back")
    assert down.code == 1
    assert "checksum_mismatch" in down.out
    assert not (end.folder / "back/film").exists()


async def test_a_file_that_is_replaced_while_it_comes_has_changed_and_is_not_damaged(end: FarEnd) -> None:
    (end.root / "film").write_bytes(os.urandom(24_000_000))
    (end.root / "new").write_bytes(os.urandom(24_000_000))
    os.utime(end.root / "new", (1, 1))
    back = end.folder / "back"
    receiving = asyncio.create_task(receive(end, "--json", "--rate", "100M", place(end, "/film"), back))
    async with asyncio.timeout(60):
        while not (parts := list(back.glob("*.partial"))) or parts[0].stat().st_size < 9_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    (end.root / "new").rename(end.root / "film")
    down = await receiving
    assert "damaged" not in down.out
    assert down.code == 0, down.err
    assert (back / "film").read_bytes() == (end.root / "film").read_bytes()


async def test_a_server_from_before_there_were_such_hashes_is_believed_by_size(
    end: FarEnd, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "ALGORITHMS", ("sha256", "md5"))
    up = await send(end, "--json", tree, place(end, "/there"))
    assert up.code == 0, up.err
    assert proofs(up.lines) == dict.fromkeys(SIZES, "size")
    down = await receive(end, "--json", place(end, "/there/tree"), end.folder / "back")
    assert down.code == 0, down.err
    assert proofs(down.lines) == dict.fromkeys(SIZES, "size")


async def test_damage_to_what_an_earlier_session_sent_is_noticed(end: FarEnd) -> None:
    film = end.folder / "film"
    film.write_bytes(os.urandom(40_000_000))
    words = ("send", *login(end), "--rate", "100M", film, place(end, "/"))
    process = await start(end.folder / "home", *words)
    first = asyncio.create_task(finish(process))
    partial = end.root / "film.partial"
    await until_written(partial, 20_000_000)
    process.kill()
    await first
    await end.sessions.until_empty()
    flip(partial, 9_000_001)
    up = await send(end, "--json", film, place(end, "/"))
    assert up.code == 0, up.err
    assert (end.root / "film").read_bytes() == film.read_bytes()
    assert proofs(up.lines) == {"film": "digest"}


async def test_a_server_that_hashes_for_long_is_not_taken_for_a_dead_one(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(100_000)
    (end.root / "film").write_bytes(content)
    may_go_on = threading.Event()

    def check(*arguments: Any) -> digests.Slices[bytes]:
        may_go_on.wait(20)
        return (yield from real(*arguments))

    real = digests.check_file
    monkeypatch.setattr(extensions.digests, "check_file", check)

    async with SftpTransport(connections_to(end, 1)) as transport:
        asking = asyncio.create_task(transport.digest(b"/film", "sha256", len(content), expected=""))
        await asyncio.sleep(1)
        assert not asking.done()
        assert transport.silent_s == 0
        await transport.facts(b"/film")
        assert transport.silent_s == 0
        may_go_on.set()
        assert await asking == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("how", ["has it later", "has another", "has nothing"])
@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_a_machine_that_has_the_file_later_damages_nothing(
    how: str, direction: str, end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one address are several machines with one network disk: only one wrote what is asked about."""

    async def check(self: SftpWire, path: bytes, *more: Any) -> bytes:
        asked.append(self)
        told = await real(self, path, *more)
        if self is connections.lanes.first.wire:
            return told
        if how == "has it later":
            raise asyncssh.SFTPFailure("so much is not there")
        if how == "has nothing":
            raise asyncssh.SFTPNoSuchFile("no such file")
        return bytes(len(told))

    asked: list[SftpWire] = []
    real = SftpWire.check_file
    monkeypatch.setattr(SftpWire, "check_file", check)
    content = os.urandom(9_000_001)
    connections = connections_to(end, 3)
    async with SftpTransport(connections) as transport:
        await all_there(transport, 3)
        for number in range(MOVES):
            await (_sent if direction == "send" else _received)(transport, end, f"film{number}", content)
            if len(set(asked)) > 1:
                return  # which connection is asked is a matter of which has time
    pytest.fail("none but the first machine was asked")


async def _sent(transport: SftpTransport, end: FarEnd, name: str, content: bytes) -> None:
    path = f"/{name}".encode()
    item = SendItem(Memory(content), path, 0, BlockHashes(), lambda _: None, exclusive=True)
    await transport.send(item)
    assert (end.root / name).read_bytes() == content
    assert item.proved


async def _received(transport: SftpTransport, end: FarEnd, name: str, content: bytes) -> None:
    (end.root / name).write_bytes(content)
    facts = await transport.facts(f"/{name}".encode())
    assert facts is not None
    target, hashes = Memory(), BlockHashes()
    path = f"/{name}".encode()
    item = ReceiveItem(path, facts.size, facts.mtime_ns, target, 0, hashes, lambda _: None)
    await transport.receive(item)
    assert target.content == content
    assert item.proved


async def test_a_connection_that_shows_other_files_is_not_asked(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def elsewhere(self: Sending, lane: Lane, handle: bytes) -> None:
        strangers.add(lane.wire)
        raise TargetError("The server shows different files on different connections.")

    async def check(self: SftpWire, path: bytes, *more: Any) -> bytes:
        asked.append(self)
        return await real(self, path, *more)

    asked: list[SftpWire] = []
    strangers: set[SftpWire] = set()
    real = SftpWire.check_file
    monkeypatch.setattr(SftpWire, "check_file", check)
    monkeypatch.setattr(Sending, "check", elsewhere)
    content = os.urandom(9_000_001)
    connections = connections_to(end, 3)
    async with SftpTransport(connections) as transport:
        await all_there(transport, 3)
        for name in (b"/one", b"/two"):
            item = SendItem(Memory(content), name, 0, BlockHashes(), lambda _: None, exclusive=True)
            await transport.send(item)
            assert item.proved
    assert strangers
    assert asked
    assert not strangers & set(asked)


def connections_to(end: FarEnd, fixed: int) -> Connections:
    async def never(_key: str, _fingerprint: str) -> bool:
        return False

    login = Credentials(USER, private_key=end.key.export_private_key().decode())
    known = KnownKeys(trusted=(end.host_key.export_public_key().decode().strip(),))
    endpoint = Endpoint("h.example", end.port, ("127.0.0.1",))
    return Connections(endpoint, login, known, never, TokenBucket(None), fixed=fixed)


async def all_there(transport: SftpTransport, number: int) -> None:
    async with asyncio.timeout(20):
        while transport.connections < number:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes((byte ^ 1,)))
