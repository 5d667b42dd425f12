"""How many files clients may have open: in one connection, and in the whole server."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.open_handles import FEW, MOST, AllHandles, OpenHandles
from connect_helper.server.sftp.packets import FLAG_CREAT, FLAG_READ, FLAG_WRITE, Status
from connect_helper.server.sftp.room import Room
from connect_helper.server.sftp.service import SftpService
from tests.support.sftp_raw import RawClient, raw_client, text
from tests.support.sftp_server import USER, FarEnd


@asynccontextmanager
async def another_channel(client: RawClient) -> AsyncIterator[RawClient]:
    """Of the same connection."""
    connection = client.writer.channel.get_connection()
    writer, reader, _errors = await connection.open_session(subsystem="sftp", encoding=None)
    other = RawClient(writer, reader)
    writer.write(struct.pack(">IBI", 5, packets.INIT, 3))
    await other.packet()
    yield other


async def open_many(client: RawClient, count: int) -> list[bytes]:
    """Open a file, and a folder, so many times together; returns the handles of those that could be."""
    numbers = [client.open(b"film", FLAG_READ) for _ in range(count - count // 2)]
    numbers += [client.ask(packets.OPENDIR, text(b"/")) for _ in range(count // 2)]
    answers = [await client.answer(number) for number in numbers]
    return [body[4:] for kind, body in answers if kind == packets.HANDLE]


async def test_the_channels_of_a_connection_share_its_files(end: FarEnd) -> None:
    (end.root / "film").touch()
    async with raw_client(end) as client, another_channel(client) as other:
        _kind, body = await client.answer(client.extended(b"limits@openssh.com"))
        assert struct.unpack(">QQQQ", body)[3] == MOST
        handles = await open_many(client, MOST - 10)
        assert len(handles) == MOST - 10
        assert len(await open_many(other, 20)) == 10
        kind, body = await other.answer(other.open(b"film", FLAG_READ))
        assert (kind, body[:4]) == (packets.STATUS, struct.pack(">I", Status.FAILURE))
        assert b"close some first" in body
        for handle in handles[-5:]:
            assert await client.status(client.ask(packets.CLOSE, text(handle))) is Status.OK
        assert len(await open_many(other, 20)) == 5


async def test_all_connections_leave_the_server_what_it_needs(end: FarEnd) -> None:
    (end.root / "film").touch()
    everybody = end.server._house.handles
    assert everybody.taken == 0
    everybody.most = 2 * FEW + 20
    async with (
        raw_client(end, address="127.0.0.1") as first,
        raw_client(end, address="127.0.0.2") as second,
        raw_client(end, address="127.0.0.3") as third,
    ):
        assert len(await open_many(first, MOST)) == FEW + 10  # half of all
        assert len(await open_many(second, MOST)) == FEW
        assert len(await open_many(third, MOST)) == 10
        kind, body = await third.answer(third.open(b"film", FLAG_READ))
        assert (kind, body[:4]) == (packets.STATUS, struct.pack(">I", Status.FAILURE))
        assert b"try again in a while" in body
        assert (await third.answer(third.ask(packets.STAT, text(b"film"))))[0] == packets.ATTRS
    await until_none(everybody)


@pytest.mark.parametrize("shared", ["token", "address"])
async def test_who_opens_many_connections_leaves_files_for_others(end: FarEnd, shared: str) -> None:
    """Beyond half of all, nobody goes on with more than a quarter, whatever connections they use."""
    (end.root / "film").touch()
    everybody = end.server._house.handles
    everybody.most = 8 * FEW
    hog = end.token("receive", "/")
    async with AsyncExitStack() as stack:

        async def connected(number: int) -> RawClient:
            token = hog if shared == "token" else end.token("receive", "/")
            address = "127.0.0.1" if shared == "address" else f"127.0.0.{number}"
            return await stack.enter_async_context(raw_client(end, token=token, address=address))

        clients = [await connected(number) for number in range(1, 7)]
        opened = [len(await open_many(client, FEW)) for client in clients]
        assert opened == [FEW, FEW, FEW, FEW, 0, 0]
        kind, body = await clients[-1].answer(clients[-1].open(b"film", FLAG_READ))
        assert (kind, body[:4]) == (packets.STATUS, struct.pack(">I", Status.FAILURE))
        assert b"try again in a while" in body
        other = await stack.enter_async_context(
            raw_client(end, token=end.token("receive", "/"), address="127.0.0.9")
        )
        assert len(await open_many(other, FEW)) == FEW
    await until_none(everybody)
    assert not everybody.shares


async def test_whatever_became_of_an_open_file_it_is_not_counted_any_more(end: FarEnd) -> None:
    everybody = end.server._house.handles
    (end.root / "film").write_bytes(b"film")
    async with raw_client(end) as client:
        assert await client.status(client.open(b"missing", FLAG_READ)) is Status.NO_SUCH_FILE
        assert await client.status(client.ask(packets.OPENDIR, text(b"film"))) is Status.NO_SUCH_FILE
        assert everybody.taken == 0
        source = await client.handle(client.open(b"film", FLAG_READ))
        target = await client.handle(client.open(b"copy", FLAG_WRITE | FLAG_CREAT))
        copy = text(source) + struct.pack(">QQ", 0, 0) + text(target) + struct.pack(">Q", 0)
        assert await client.status(client.extended(b"copy-data", copy)) is Status.OK
        assert everybody.taken == 2
        for handle in (source, target):
            assert await client.status(client.ask(packets.CLOSE, text(handle))) is Status.OK
        assert everybody.taken == 0
        for _ in range(20):
            client.open(b"film", FLAG_READ)
            client.ask(packets.OPENDIR, text(b"/"))
    await until_none(everybody)


async def test_files_open_for_a_digest_are_counted_too(end: FarEnd) -> None:
    everybody = end.server._house.handles
    with (end.root / "huge").open("wb") as file:
        file.truncate(4 * 1024**4)  # hours of work
    (end.root / "film").write_bytes(b"film")
    async with raw_client(end) as client:
        assert (await client.answer(ask_digest(client, b"film")))[0] == packets.EXTENDED_REPLY
        assert await client.status(ask_digest(client, b"missing")) is Status.NO_SUCH_FILE
        assert await client.status(ask_digest(client, b"film", start=9)) is Status.FAILURE
        assert everybody.taken == 0
        held = await open_many(client, MOST - 30)
        for _ in range(30):
            ask_digest(client, b"huge")
        kind, body = await client.answer(ask_digest(client, b"huge"))
        assert (kind, body[:4]) == (packets.STATUS, struct.pack(">I", Status.FAILURE))
        assert b"close some first" in body
        assert everybody.taken == MOST == len(held) + 30
    await until_none(everybody)


def ask_digest(client: RawClient, path: bytes, start: int = 0) -> int:
    part = struct.pack(">QQI", start, 0, 0)
    return client.extended(b"check-file-name", text(path) + text(b"md5") + part)


class Nowhere:
    """Takes every answer."""

    waiting = 0

    def send(self, *parts: object) -> None:
        return None

    async def room(self, most: int) -> None:
        return None


async def test_openings_that_never_began_are_not_counted_any_more() -> None:
    """What came with the request for SFTP is read at once, and something wrong in it ends everything."""
    everybody = AllHandles(1000)
    account = SimpleNamespace(name=USER)
    access = SimpleNamespace(account=account, token=None)
    session = SimpleNamespace(id="s", peer="127.0.0.1", access=access, account=account)
    workers = SimpleNamespace(room=Room(), turns=None, quick=None, slow=None, space=None)
    service = SftpService(
        cast("Any", None),
        cast("Any", session),
        cast("Any", Nowhere()),
        cast("Any", workers),
        OpenHandles(everybody, []),
    )
    requests = [struct.pack(">BI", packets.INIT, 3)]
    requests += [
        struct.pack(">BI", packets.OPEN, number) + text(b"film") + struct.pack(">II", FLAG_READ, 0)
        for number in range(50)
    ]
    digest = text(b"check-file-name") + text(b"film") + text(b"md5") + bytes(20)
    requests += [struct.pack(">BI", packets.EXTENDED, number) + digest for number in range(50, 60)]
    service.received(b"".join(map(text, requests)) + bytes(4))
    with pytest.raises(packets.BadPacket):
        await service.run()
    assert everybody.taken == 0


async def until_none(everybody: AllHandles) -> None:
    async with asyncio.timeout(20):
        while everybody.taken:  # noqa: ASYNC110 - the server notices the end a moment later
            await asyncio.sleep(0.02)
