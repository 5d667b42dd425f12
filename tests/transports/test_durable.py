"""A large file on a far server: made durable behind the last bytes, not once they are confirmed."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import TargetError
from connect_helper.transports import sftp_move, sftp_sending
from connect_helper.transports.base import SendItem
from connect_helper.transports.lane import Lane
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.sftp_answers import STATUS, Answer
from connect_helper.transports.sftp_sending import Sending
from connect_helper.transports.sftp_wire import SftpWire
from tests.support.sessions import noise
from tests.support.sshd import SshServer
from tests.support.transports import open_transport, sending

SIZE = 24_000_001
LIMIT_S = 30
TIMES = (1_600_000_000 * 10**9, 1_500_000_000 * 10**9)
FAILURE = struct.pack(">II4sI", 4, 4, b"full", 0)  # status 4 of SFTP version 3


@dataclass(slots=True)
class Asked:
    """What was asked of the server about files."""

    syncs: int = 0
    settled: list[bool] = field(default_factory=list)  # whether each was to be made durable then


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The server counts as far away."""
    monkeypatch.setattr(sftp_sending, "FAR_S", 0.0)
    monkeypatch.setattr(sftp_sending, "BEHIND_ROUND_TRIPS", 1e6)  # on a slow disk, too
    monkeypatch.setattr(sftp_move, "LATE_S", 1e6)  # no block goes twice, however busy the machine is
    seen = Asked()
    start_sync, settle = SftpWire.start_sync, SftpWire.settle

    def syncing(self: SftpWire, handle: bytes) -> asyncio.Future[Answer]:
        seen.syncs += 1
        return start_sync(self, handle)

    def settling(self: SftpWire, *args: Any, durable: bool = True, **kwargs: Any) -> Any:
        seen.settled.append(durable)
        return settle(self, *args, durable=durable, **kwargs)

    monkeypatch.setattr(SftpWire, "start_sync", syncing)
    monkeypatch.setattr(SftpWire, "settle", settling)
    return seen


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[SftpTransport]:
    with SshServer() as server:
        async with open_transport(server, connections=4) as transport:
            async with asyncio.timeout(LIMIT_S):
                while transport.connections < 4:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)
            yield transport


def item_for(folder: Path, content: bytes) -> SendItem:
    item, _ = sending(content, str(folder / "film.partial").encode())
    item.times = TIMES
    return item


async def test_each_connection_is_asked_behind_its_last_write(
    transport: SftpTransport, tmp_path: Path, asked: Asked
) -> None:
    content = noise(SIZE)
    item = item_for(tmp_path, content)
    await transport.send(item)
    used = sum(lane.moved > 0 for lane in transport._all.all)
    assert used > 1
    assert asked.syncs >= used
    assert asked.settled == [False]
    assert item.arrived is not None
    assert item.arrived.size == SIZE
    await transport.publish(item.partial, str(tmp_path / "film").encode(), "replace")
    assert (tmp_path / "film").read_bytes() == content
    assert (tmp_path / "film").stat().st_mtime_ns == TIMES[1]  # told before the name was reported
    assert not transport._settling


async def test_where_one_was_not_asked_all_is_asked_at_the_end(
    transport: SftpTransport, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Sending.all_asked

    def all_but_the_first(self: Sending, lane: Lane, handle: bytes) -> None:
        if lane is not transport._all.first:
            ask(self, lane, handle)

    monkeypatch.setattr(Sending, "all_asked", all_but_the_first)
    content = noise(SIZE)
    item = item_for(tmp_path, content)
    await transport.send(item)
    assert asked.settled == [True]
    assert (tmp_path / "film.partial").read_bytes() == content
    assert item.arrived is not None
    assert item.arrived.size == SIZE


async def test_an_answer_that_stays_away_is_not_waited_for_long(
    transport: SftpTransport, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_sending, "BEHIND_ROUND_TRIPS", 0)
    monkeypatch.setattr(
        SftpWire, "start_look", lambda self, handle: asyncio.get_running_loop().create_future()
    )
    item = item_for(tmp_path, noise(SIZE))
    with pytest.raises(TimeoutError):  # at the end it is waited for, as any answer
        async with asyncio.timeout(2):
            await transport.send(item)
    assert asked.settled == [True]


async def test_a_disk_that_takes_no_more_is_told_and_gone_on_from_nothing(
    transport: SftpTransport, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: SftpWire, handle: bytes) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answer.set_result((STATUS, FAILURE))
        return answer

    monkeypatch.setattr(SftpWire, "start_sync", refused)
    item = item_for(tmp_path, noise(SIZE))
    with pytest.raises(TargetError):
        await transport.send(item)
    assert item.done.offset == 0
    assert asked.settled == []


async def test_a_file_that_gets_no_name_leaves_nothing_running(tmp_path: Path, asked: Asked) -> None:
    with SshServer() as server:
        async with open_transport(server, connections=2) as transport:
            await transport.send(item_for(tmp_path, noise(SIZE)))
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "settling"]
    assert not left
    assert asked.settled == [False]
