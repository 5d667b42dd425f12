"""A large file on a far server: made durable behind the last bytes, not once they are confirmed."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from connect_helper.errors import TargetError
from connect_helper.transports import sftp_move, sftp_sending, sftp_settling
from connect_helper.transports.base import Mark, SendItem
from connect_helper.transports.lane import Lane
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.sftp_answers import STATUS, Answer, Attrs
from connect_helper.transports.sftp_files import RemoteFile
from connect_helper.transports.sftp_sending import Sending
from connect_helper.transports.sftp_wire import SftpWire
from tests.support.sessions import noise
from tests.support.sshd import SshServer
from tests.support.transports import open_transport, sending

SIZE = 24_000_001
LIMIT_S = 30
TRIES = 5
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
    monkeypatch.setattr(sftp_move, "LATE_S", 1e6)  # hardly a block goes twice, however busy the machine is
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


async def sent_ahead(transport: SftpTransport, item: SendItem, asked: Asked) -> None:
    """Send a file that is durable when its last answer comes.

    Not so where another connection's last answer ends it, which a few tries get past.
    """
    for _ in range(TRIES):
        await transport.send(item)
        if asked.settled[-1] is False:
            return
        await transport.remove(item.partial)
        item.times = TIMES
    raise AssertionError("it is never asked in time")


async def test_each_connection_is_asked_behind_its_last_write(
    transport: SftpTransport, tmp_path: Path, asked: Asked
) -> None:
    content = noise(SIZE)
    item = item_for(tmp_path, content)
    await sent_ahead(transport, item, asked)
    used = sum(lane.moved > 0 for lane in transport._all.all)
    assert used > 1
    assert asked.syncs >= used
    assert item.arrived is not None
    assert item.arrived.size == SIZE
    await transport.publish(item.partial, str(tmp_path / "film").encode(), "replace")
    assert (tmp_path / "film").read_bytes() == content
    assert (tmp_path / "film").stat().st_mtime_ns == TIMES[1]  # told before the name was reported
    assert not transport._settling._under_way
    assert all(lane.users == 0 for lane in transport._all.all)


async def test_a_file_that_has_its_name_did_not_fail_whatever_is_lost_behind_it(
    transport: SftpTransport, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(self: SftpWire, *_: Any, durable: bool = True, **__: Any) -> Attrs:
        asked.settled.append(durable)
        raise asyncssh.SFTPFailure("no")

    monkeypatch.setattr(SftpWire, "settle", lost)
    item = item_for(tmp_path, noise(SIZE))
    for _ in range(TRIES):
        try:
            await transport.send(item)
        except TargetError:  # it was to be made durable then
            await transport.remove(item.partial)
            item.done, item.times = Mark(), TIMES
        else:
            break
    assert asked.settled[-1] is False
    await transport.publish(item.partial, str(tmp_path / "film").encode(), "replace")
    assert (tmp_path / "film").stat().st_size == SIZE
    assert (tmp_path / "film").stat().st_mtime_ns == TIMES[1]  # set once more, by its name


async def test_two_who_wait_for_what_is_said_both_go_on(
    transport: SftpTransport, tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_settling, "LIMIT_S", 0.1)
    item = item_for(tmp_path, noise(SIZE))
    await sent_ahead(transport, item, asked)
    settling = transport._settling
    times = tuple(one // 10**9 for one in TIMES)
    assert await asyncio.gather(settling.over(item.partial), settling.over(item.partial)) == [None, None]

    async def silent(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(SftpWire, "settle", silent)
    file = RemoteFile(transport._all.first, b"no handle", b"film", "target")
    settling.begin(file, times)
    assert await asyncio.gather(settling.over(b"film"), settling.over(b"film")) == [times, times]
    await asyncio.sleep(0)
    assert transport._all.first.users == 0


@pytest.mark.parametrize("size", [0, 1_000_000])
async def test_a_file_that_is_there_whole_has_nothing_left_to_be_written(
    transport: SftpTransport, tmp_path: Path, asked: Asked, size: int
) -> None:
    content = noise(size)
    (tmp_path / "film.partial").write_bytes(content)
    item = item_for(tmp_path, content)
    item.exclusive, item.offset = False, size
    item.hashes.feed(content)
    await transport.send(item)
    assert asked.settled == [True]
    assert (tmp_path / "film.partial").read_bytes() == content


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
    work = asyncio.create_task(transport.send(item_for(tmp_path, noise(SIZE))))
    async with asyncio.timeout(LIMIT_S):
        while not asked.settled:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    assert asked.settled == [True]
    work.cancel()  # at the end the answer is waited for, as any
    with pytest.raises(asyncio.CancelledError):
        await work


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
            await sent_ahead(transport, item_for(tmp_path, noise(SIZE)), asked)
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "settling"]
    assert not left
