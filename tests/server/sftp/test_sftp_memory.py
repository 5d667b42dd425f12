"""What the server keeps in memory for clients that ask for much, and for those that take nothing."""

from __future__ import annotations

import asyncio
import os
import struct
import tracemalloc
from collections.abc import Callable

import asyncssh
import pytest

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.packets import (
    FLAG_CREAT,
    FLAG_READ,
    FLAG_WRITE,
    LARGEST_OTHER,
    Packets,
    Request,
)
from connect_helper.server.sftp.room import MIB
from tests.support.sftp_raw import RawClient, raw_client, text
from tests.support.sftp_server import FarEnd

HANDLES = 200


def stop_reading(client: RawClient) -> None:
    client.reader.channel.pause_reading()  # type: ignore[attr-defined]


def read_on(client: RawClient) -> None:
    client.reader.channel.resume_reading()  # type: ignore[attr-defined]


async def test_many_files_read_at_once_take_no_more_memory_than_one(end: FarEnd) -> None:
    (end.root / "film").write_bytes(os.urandom(MIB))
    async with raw_client(end) as client:
        asked = [client.open(b"film", FLAG_READ) for _ in range(HANDLES)]
        handles = [await client.handle(number) for number in asked]
        stop_reading(client)
        numbers = [client.read(handle, 0, MIB) for handle in handles]
        assert await settled(lambda: end.sessions.listing()[0].bytes_out) < 16 * MIB
        read_on(client)
        for number in numbers:
            assert len(await client.data(number)) == MIB


async def test_many_folders_read_at_once_take_no_more_memory_than_one(end: FarEnd) -> None:
    for number in range(700):
        (end.root / f"{number:04}{'x' * 200}").touch()
    async with raw_client(end) as client:
        asked = [client.ask(packets.OPENDIR, text(b"/")) for _ in range(HANDLES)]
        handles = [await client.handle(number) for number in asked]
        stop_reading(client)
        numbers = [client.ask(packets.READDIR, text(handle)) for handle in handles]
        assert await settled(lambda: waiting(end)) < 5 * MIB
        read_on(client)
        for number in numbers:
            assert (await client.answer(number))[0] == packets.NAME


async def test_who_takes_no_answers_is_not_asked_for_more_requests(end: FarEnd) -> None:
    path = b"/".join(b"x" * 200 for _ in range(19))  # the answer says it twice
    async with raw_client(end) as client:
        stop_reading(client)
        numbers = [client.ask(packets.REALPATH, text(path)) for _ in range(5000)]
        assert 0 < await settled(lambda: waiting(end)) < 12 * MIB
        read_on(client)
        for number in numbers:
            assert (await client.answer(number))[0] == packets.NAME


async def test_requests_that_wait_are_not_taken_without_end_however_long_their_paths(end: FarEnd) -> None:
    room = end.server._house.workers.room
    room.sessions += 1023  # half a MiB for each
    with (end.root / "huge").open("wb") as file:
        file.truncate(4 * 1024**4)  # hours of work
    path = b"huge/" + b"/".join(b"x" * 200 for _ in range(19))
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"huge", FLAG_READ))
        client.extended(b"check-file-handle", text(handle) + text(b"md5") + bytes(20))
        client.ask(packets.CLOSE, text(handle))
        for _ in range(400):  # behind the CLOSE: each changes what it is about
            client.ask(packets.SYMLINK, text(path[5:]) + text(path))
        (connection,) = end.server._house.open
        (service,) = connection._services
        assert 50 < await settled(lambda: service._desk.owed) < 100
    room.sessions -= 1023


async def test_names_to_open_are_not_taken_without_end(end: FarEnd) -> None:
    room = end.server._house.workers.room
    room.sessions += 1023
    with (end.root / "huge").open("wb") as file:
        file.truncate(4 * 1024**4)
    path = b"huge/" + b"/".join(b"x" * 200 for _ in range(19))
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"huge", FLAG_READ))
        client.extended(b"check-file-handle", text(handle) + text(b"md5") + bytes(20))
        client.ask(packets.CLOSE, text(handle))
        for _ in range(400):
            client.open(path, FLAG_WRITE | FLAG_CREAT)
        (connection,) = end.server._house.open
        (service,) = connection._services
        assert 50 < await settled(lambda: service._desk.owed) < 200
    room.sessions -= 1023


@pytest.mark.parametrize(
    "kind", [packets.SYMLINK, packets.STAT, packets.OPEN, packets.EXTENDED, packets.READ]
)
async def test_only_a_write_may_be_long(end: FarEnd, kind: int) -> None:
    """No other request needs more than its paths; it is refused before its bytes are taken."""
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"film", FLAG_WRITE | FLAG_CREAT))
        assert await client.status(client.write(handle, 0, bytes(MIB))) is packets.Status.OK
        client.ask(kind, text(b"x" * LARGEST_OTHER))
        with pytest.raises((asyncssh.Error, OSError, asyncio.IncompleteReadError)):
            await client.answer(client.last)
    async with raw_client(end) as client:
        assert (await client.answer(client.ask(packets.STAT, text(b"film"))))[0] == packets.ATTRS


def test_a_long_request_is_refused_as_soon_as_its_kind_is_known() -> None:
    cutting = Packets(lambda _request: None)
    cutting.feed(struct.pack(">I", LARGEST_OTHER + 1))
    with pytest.raises(packets.BadPacket, match=str(LARGEST_OTHER + 1)):
        cutting.feed(bytes((packets.SYMLINK,)))
    cutting = Packets(lambda _request: None)
    cutting.feed(struct.pack(">I", LARGEST_OTHER + 1))
    cutting.feed(bytes((packets.WRITE,)))


def test_attributes_nobody_uses_are_not_read_without_end() -> None:
    for count, fits in ((64, True), (65, False)):
        fields = packets.Fields(struct.pack(">II", packets.ATTR_MORE, count) + bytes(8 * count))
        if fits:
            assert fields.attrs() == packets.Attrs()
        else:
            with pytest.raises(packets.BadPacket):
                fields.attrs()


async def settled(figure: Callable[[], int]) -> int:
    """The figure once the server has done all that it does by itself."""
    before = -1
    while figure() != before or not before:
        before = figure()
        await asyncio.sleep(0.5)
    return before


def waiting(end: FarEnd) -> int:
    """Bytes of answers that wait for the one client there is."""
    (connection,) = end.server._house.open
    (service,) = connection._services
    return service._outlet.waiting


@pytest.mark.parametrize("size", [1, 30])
def test_a_request_in_crumbs_takes_as_much_memory_as_its_bytes(size: int) -> None:
    content = os.urandom(MIB // 4)
    body = struct.pack(">BI", packets.WRITE, 1) + text(b"handle") + struct.pack(">Q", 0) + text(content)
    stream = text(body)
    *most, last = [stream[at : at + size] for at in range(0, len(stream), size)]
    got: list[Request] = []
    cutting = Packets(got.append)
    tracemalloc.start()
    try:
        for crumb in most:
            cutting.feed(crumb)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(content)
    cutting.feed(last)
    (request,) = got
    assert b"".join(request.data) == content


def test_large_pieces_of_a_write_are_not_copied() -> None:
    pieces = [os.urandom(32 * 1024) for _ in range(4)]
    size = sum(map(len, pieces))
    head = struct.pack(">BI", packets.WRITE, 1) + text(b"handle") + struct.pack(">Q", 0)
    first = text(head + struct.pack(">I", size) + b"".join(pieces))[: -3 * len(pieces[0])]
    got: list[Request] = []
    cutting = Packets(got.append)
    for piece in (first, *pieces[1:]):
        cutting.feed(piece)
    (request,) = got
    assert all(memoryview(one).obj is piece for one, piece in zip(request.data[1:], pieces[1:], strict=True))
