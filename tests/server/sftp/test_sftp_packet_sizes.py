"""Clients say how large a packet may be that is sent to them, and how many bytes; some say strange things."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.packets import FLAG_READ
from connect_helper.server.sftp.room import KIB, MIB
from connect_helper.server.ssh import SMALLEST_PACKET
from connect_helper.wire.cipher import Counter
from connect_helper.wire.writer import BURST, BURST_PACKETS, LeanWriter
from tests.support.sftp_raw import RawClient
from tests.support.sftp_server import USER, FarEnd


@asynccontextmanager
async def connected(end: FarEnd) -> AsyncIterator[asyncssh.SSHClientConnection]:
    known = asyncssh.import_known_hosts(f"[127.0.0.1]:{end.port} {end.host_key.export_public_key().decode()}")
    async with asyncssh.connect(
        "127.0.0.1", end.port, username=USER, known_hosts=known, config=None, client_keys=[end.key]
    ) as connection:
        yield connection


@asynccontextmanager
async def client_with(end: FarEnd, packet: int) -> AsyncIterator[RawClient]:
    """A session whose client takes packets with at most so many bytes of data."""
    async with connected(end) as connection:
        writer, reader, _errors = await connection.open_session(
            subsystem="sftp", encoding=None, max_pktsize=packet, window=8 * MIB
        )
        client = RawClient(writer, reader)
        writer.write(struct.pack(">IBI", 5, packets.INIT, 3))
        await client.packet()
        yield client


@pytest.mark.parametrize("packet", [1, SMALLEST_PACKET - 1])
async def test_packets_of_a_few_bytes_are_refused(end: FarEnd, packet: int) -> None:
    """Each costs the event loop as much as a large one, and all other clients wait for that."""
    with pytest.raises(asyncssh.ChannelOpenError, match="packets of at least 4096 bytes"):
        async with client_with(end, packet):
            pass


async def test_a_refused_channel_takes_no_place_of_another(end: FarEnd) -> None:
    async with connected(end) as connection:
        for _ in range(20):
            with pytest.raises(asyncssh.ChannelOpenError, match="at least"):
                await connection.open_session(subsystem="sftp", max_pktsize=1)
        (served,) = end.server._house.open
        assert not served._channels
        assert not served._connection._channels
        async with connection.start_sftp_client() as client:
            await client.stat("/")


async def test_small_packets_are_sent_a_few_at_a_time(end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    bursts: list[int] = []
    flushes: list[int] = []
    burst, flush = LeanWriter._burst, LeanWriter.flush

    def noted(writer: LeanWriter, counter: Counter, room: int) -> bytearray:
        bursts.append(room)
        return burst(writer, counter, room)

    def counted(writer: LeanWriter) -> None:
        before = sum(bursts)
        flush(writer)
        flushes.append(sum(bursts) - before)

    monkeypatch.setattr(LeanWriter, "_burst", noted)
    monkeypatch.setattr(LeanWriter, "flush", counted)
    content = os.urandom(MIB)
    (end.root / "film").write_bytes(content)
    async with client_with(end, SMALLEST_PACKET) as client:
        handle = await client.handle(client.open(b"film", FLAG_READ))
        assert (await client.data(client.read(handle, 0, MIB))) == content
    assert sum(bursts) > MIB
    assert max(bursts) <= BURST_PACKETS * SMALLEST_PACKET
    assert max(flushes) <= 2 * BURST_PACKETS * SMALLEST_PACKET


@pytest.mark.parametrize("packet", [SMALLEST_PACKET, 32 * KIB, 2**32 - 1])
async def test_a_channel_takes_no_memory_for_packets_nobody_sends(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch, packet: int
) -> None:
    writers: list[LeanWriter] = []
    send = LeanWriter.send

    def noted(writer: LeanWriter, *parts: bytes | memoryview) -> None:
        writers.append(writer)
        send(writer, *parts)

    monkeypatch.setattr(LeanWriter, "send", noted)
    content = os.urandom(MIB)
    (end.root / "film").write_bytes(content)
    async with client_with(end, packet) as client:
        handle = await client.handle(client.open(b"film", FLAG_READ))
        assert (await client.data(client.read(handle, 0, MIB))) == content
    assert writers
    assert all(len(writer._plain) < BURST + KIB for writer in writers)
