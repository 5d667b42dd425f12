"""Digests and copies that take hours: others have their turn meanwhile, and they end with their session."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import threading
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connect_helper.server.fair_turns import FairTurns
from connect_helper.server.sftp import digests, packets
from connect_helper.server.sftp.desk import MOST_LONG
from connect_helper.server.sftp.folders import OpenFolder
from connect_helper.server.sftp.packets import FLAG_CREAT, FLAG_READ, FLAG_WRITE, Status
from connect_helper.server.sftp.room import MIB
from connect_helper.server.ssh import LISTS_AT_ONCE, SLOW_THREADS
from connect_helper.transports.sftp_files import SMALL
from tests.support.sftp_raw import RawClient, raw_client, text
from tests.support.sftp_server import FarEnd

HOURS = 4 * 1024**4  # bytes: what no test waits for
WHOLE = struct.pack(">QQI", 0, 0, 0)


def ask_digest(client: RawClient, path: bytes, part: bytes = WHOLE) -> int:
    return client.extended(b"check-file-name", text(path) + text(b"sha512") + part)


@pytest.fixture
def huge(end: FarEnd) -> str:
    with (end.root / "huge").open("wb") as file:
        file.truncate(HOURS)
    return "huge"


async def test_long_digests_of_one_session_hold_up_nobody_else(end: FarEnd, huge: str) -> None:
    (end.root / "small").write_bytes(b"small")
    turns = end.server._house.workers.turns
    async with raw_client(end) as busy:
        handle = await busy.handle(busy.open(b"huge", FLAG_READ))
        for _ in range(50):
            ask_digest(busy, b"huge")
        busy.extended(b"check-file-handle", text(handle) + text(b"sha512") + WHOLE)
        await busy.answer(busy.ask(packets.STAT, text(b"small")))  # all of them have come in
        async with raw_client(end, token=end.token("receive", "small")) as other:
            began = time.monotonic()
            kind, body = await other.answer(ask_digest(other, b"small"))
            assert kind == packets.EXTENDED_REPLY
            assert body[-64:] == hashlib.sha512(b"small").digest()
            assert time.monotonic() - began < 20
        assert sum(map(len, turns._lines.values())) <= MOST_LONG
    async with asyncio.timeout(20):
        while turns._free < 4:  # noqa: ASYNC110 - the server notices the end a moment later
            await asyncio.sleep(0.05)
    assert not turns._lines


async def test_folders_are_read_a_few_at_a_time_for_the_same_hand(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    (end.root / "folder").mkdir()
    may_go_on, at_work = threading.Event(), list[OpenFolder]()
    read = OpenFolder.read

    def slow(folder: OpenFolder) -> list[bytes]:
        at_work.append(folder)
        may_go_on.wait(30)
        return read(folder)

    async def list_folders(client: RawClient, count: int) -> list[int]:
        opened = [client.ask(packets.OPENDIR, text(b"/folder")) for _ in range(count)]
        handles = [await client.handle(number) for number in opened]
        return [client.ask(packets.READDIR, text(handle)) for handle in handles]

    monkeypatch.setattr(OpenFolder, "read", slow)
    try:
        async with (
            raw_client(end) as one,
            raw_client(end) as same,
            raw_client(end, token=end.token("receive", "folder")) as other,
        ):
            asked = [(client, await list_folders(client, 2 * LISTS_AT_ONCE)) for client in (one, same)]
            for client, _ in asked:
                await client.answer(client.ask(packets.STAT, text(b"/folder")))  # all have come in
            assert len(at_work) == LISTS_AT_ONCE
            asked.append((other, await list_folders(other, 1)))
            async with asyncio.timeout(20):
                while len(at_work) <= LISTS_AT_ONCE:  # noqa: ASYNC110 - as the threads get to it
                    await asyncio.sleep(0.02)
            may_go_on.set()
            for client, numbers in asked:
                for number in numbers:
                    assert (await client.answer(number))[0] == packets.NAME
    finally:
        may_go_on.set()


async def test_what_is_open_for_a_long_digest_is_closed_when_its_session_ends(end: FarEnd, huge: str) -> None:
    async with raw_client(end) as client:
        for _ in range(8):
            ask_digest(client, b"huge")
        source = await client.handle(client.open(b"huge", FLAG_READ))
        target = await client.handle(client.open(b"copy", FLAG_WRITE | FLAG_CREAT))
        for _ in range(8):  # behind a digest that takes hours: they never begin
            client.extended(b"check-file-handle", text(source) + text(b"md5") + WHOLE)
            copy = struct.pack(">QQ", 0, 10) + text(target) + struct.pack(">Q", 0)
            client.extended(b"copy-data", text(source) + copy)
        async with asyncio.timeout(20):
            while open_handles(end) < 1 + 8 + MOST_LONG:  # noqa: ASYNC110 - as the threads get to it
                await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while open_handles(end):  # noqa: ASYNC110 - the server notices the end a moment later
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("asked_all", [True, False])
@pytest.mark.parametrize("how", ["connection lost", "channel closed", "session cancelled", "server stopped"])
async def test_a_session_ends_with_its_client_whatever_is_still_owed(
    end: FarEnd, huge: str, how: str, asked_all: bool
) -> None:
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"huge", FLAG_READ))
        client.extended(b"check-file-handle", text(handle) + text(b"sha512") + WHOLE)
        await client.answer(client.ask(packets.STAT, text(b"huge")))
        if asked_all:
            client.writer.write_eof()
            await until_all_asked(end)
        await end_it(end, client, how)
        async with asyncio.timeout(10):
            while open_handles(end) or end.server._house.workers.room.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_session_ends_though_its_answers_wait_for_their_rate(end: FarEnd) -> None:
    end.change(download_cap_kbps=8)  # 1 kB/s
    (end.root / "film").write_bytes(bytes(MIB))
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"film", FLAG_READ))
        for at in range(0, MIB, 32_768):
            client.read(handle, at, 32_768)
        client.writer.write_eof()
        await until_all_asked(end)
    async with asyncio.timeout(10):
        while end.sessions.listing():  # noqa: ASYNC110 - the server notices the end a moment later
            await asyncio.sleep(0.05)


async def until_all_asked(end: FarEnd) -> None:
    """Wait until the server has read that its client will ask for nothing more."""
    (connection,) = end.server._house.open
    async with asyncio.timeout(10):
        while any(channel._over is None for channel in connection._channels):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def end_it(end: FarEnd, client: RawClient, how: str) -> None:
    if how == "connection lost":
        client.writer.channel.get_connection().abort()
    elif how == "channel closed":
        client.writer.channel.abort()
    elif how == "session cancelled":
        end.sessions.cancel_all()
    else:
        await end.server.stop(0)


def open_handles(end: FarEnd) -> int:
    """Of the large file."""
    count = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            count += os.readlink(f"/proc/self/fd/{name}") == str(end.root / "huge")  # noqa: PTH115
        except FileNotFoundError:  # closed since
            continue
    return count


async def test_a_turn_lasts_as_long_as_its_thread_works(
    end: FarEnd, huge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes and goes again and again would leave more slices behind than there are threads."""
    may_go_on = threading.Event()
    check = digests.check_file
    under_way: list[str] = []

    def slow(*all_: Any) -> digests.Slices[bytes]:
        under_way.append(threading.current_thread().name)
        may_go_on.wait(30)
        return (yield from check(*all_))

    monkeypatch.setattr(digests, "check_file", slow)
    workers = end.server._house.workers
    try:
        for _ in range(3):
            async with raw_client(end, token=end.token("receive", huge)) as client:
                for _ in range(MOST_LONG):
                    ask_digest(client, huge.encode())
                async with asyncio.timeout(10):
                    while len(under_way) < SLOW_THREADS:  # noqa: ASYNC110 - as the threads get to it
                        await asyncio.sleep(0.02)
                await client.answer(client.ask(packets.STAT, text(huge.encode())))
                await asyncio.sleep(0.1)
            async with asyncio.timeout(10):
                while end.sessions.listing():  # noqa: ASYNC110 - the server notices the end a moment later
                    await asyncio.sleep(0.02)
        assert workers.slow._work_queue.qsize() == 0
        assert workers.turns._free == 0
    finally:
        may_go_on.set()
    async with asyncio.timeout(10):
        while workers.turns._free < SLOW_THREADS:  # noqa: ASYNC110 - as the threads end
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [1000, 70_000, 10**9])
async def test_slices_change_nothing(end: FarEnd, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(digests, "SLICE", size)
    content = os.urandom(300_000)
    (end.root / "film").write_bytes(content)
    async with raw_client(end) as client:
        _kind, body = await client.answer(ask_digest(client, b"film"))
        assert body[-64:] == hashlib.sha512(content).digest()
        blocks = ask_digest(client, b"film", struct.pack(">QQI", 1000, 250_000, 60_000))
        _kind, body = await client.answer(blocks)
        part = content[1000:251_000]
        assert body.endswith(
            b"".join(hashlib.sha512(part[at : at + 60_000]).digest() for at in range(0, 250_000, 60_000))
        )
        source = await client.handle(client.open(b"film", FLAG_READ))
        target = await client.handle(client.open(b"copy", FLAG_WRITE | FLAG_CREAT))
        copy = struct.pack(">QQ", 0, 0) + text(target) + struct.pack(">Q", 0)
        assert await client.status(client.extended(b"copy-data", text(source) + copy)) is Status.OK
    assert (end.root / "copy").read_bytes() == content


async def test_long_answers_wait_for_who_takes_none(end: FarEnd) -> None:
    (end.root / "film").write_bytes(bytes(MIB))
    async with raw_client(end) as client:
        client.reader.channel.pause_reading()  # type: ignore[attr-defined]
        part = struct.pack(">QQI", 0, 0, 256)
        numbers = [ask_digest(client, b"film", part) for _ in range(100)]
        waited, before = 0, -1
        while not waited or waited != before:
            before = waited
            await asyncio.sleep(1)
            (connection,) = end.server._house.open
            waited = sum(service._outlet.waiting for service in connection._services)
        assert 0 < waited < 6 * MIB
        client.reader.channel.resume_reading()  # type: ignore[attr-defined]
        for number in numbers:
            assert (await client.answer(number))[0] == packets.EXTENDED_REPLY


async def test_answers_with_many_digests_of_open_files_wait_for_who_takes_none(end: FarEnd) -> None:
    (end.root / "film").write_bytes(bytes(MIB))
    async with raw_client(end) as client:
        handles = [await client.handle(client.open(b"film", FLAG_READ)) for _ in range(8)]
        client.reader.channel.pause_reading()  # type: ignore[attr-defined]
        part = struct.pack(">QQI", 0, MIB, 256)
        numbers = [ask_digest_of(client, handles[count % 8], b"sha512", part) for count in range(100)]
        (connection,) = end.server._house.open
        (service,) = connection._services
        waited, before = 0, -1
        while not waited or waited != before:
            before = waited
            await asyncio.sleep(1)
            waited = service._outlet.waiting
        assert 0 < waited < 6 * MIB
        client.reader.channel.resume_reading()  # type: ignore[attr-defined]
        for number in numbers:
            assert (await client.answer(number))[0] == packets.EXTENDED_REPLY


def ask_digest_of(client: RawClient, handle: bytes, algorithm: bytes, part: bytes) -> int:
    return client.extended(b"check-file-handle", text(handle) + text(algorithm) + part)


@pytest.mark.parametrize(
    ("algorithm", "length", "block", "quick"),
    [
        # What our own client asks of each small file it moves.
        ("xxh128", 1, 0, True),
        ("xxh128", 16 * 1024, 0, True),
        ("xxh128", SMALL, 0, True),
        ("xxh128", SMALL, 8 * MIB, True),
        ("sha256", 64 * 1024, 0, True),
        ("sha512", 64 * 1024, 4096, True),
        ("sha512", 64 * 1024, 256, False),
        ("sha256", SMALL, 0, False),
        ("xxh128", MIB, 0, False),
        ("xxh128", SMALL, 256, False),
        ("md5", MIB, 256, False),
        ("xxh128", 0, 0, False),  # the whole file, however large
    ],
)
async def test_only_digests_that_are_soon_made_go_with_the_short_work(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch, algorithm: str, length: int, block: int, quick: bool
) -> None:
    threads: list[str] = []
    check = digests.check_file

    def noted(*all_: Any) -> digests.Slices[bytes]:
        threads.append(threading.current_thread().name)
        return check(*all_)

    monkeypatch.setattr(digests, "check_file", noted)
    (end.root / "film").write_bytes(bytes(2 * MIB))
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"film", FLAG_READ))
        part = struct.pack(">QQI", 0, length, block)
        answer = await client.answer(ask_digest_of(client, handle, algorithm.encode(), part))
        assert answer[0] == packets.EXTENDED_REPLY
    assert [name.startswith("sftp-slow") for name in threads] == [not quick]


@asynccontextmanager
async def turn_of(turns: FairTurns, key: Hashable) -> AsyncIterator[None]:
    await turns.take(key)
    try:
        yield
    finally:
        turns.give_back()


async def test_turns_go_round_however_many_one_asks_for() -> None:
    turns = FairTurns(1)
    had: list[Hashable] = []

    async def work(key: Hashable) -> None:
        async with turn_of(turns, key):
            had.append(key)

    async with asyncio.TaskGroup() as tasks, turn_of(turns, "first"):
        for key in ("a", "a", "a", "b", "c", "b"):
            tasks.create_task(work(key), name=f"work of {key}")
        await asyncio.sleep(0)
    assert had == ["a", "b", "c", "a", "b", "a"]
    async with asyncio.timeout(1), turn_of(turns, "last"):
        pass


async def test_sessions_that_end_together_leave_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds one and who waits for one are cancelled in the same moment, in either order."""
    turns = FairTurns(2)

    async def work(key: Hashable) -> None:
        async with turn_of(turns, key):
            await asyncio.sleep(3600)

    for order in (1, -1):
        tasks = [asyncio.create_task(work(key), name=f"work of {key}") for key in "aabbab"]
        await asyncio.sleep(0)
        for task in tasks[::order]:
            task.cancel()
        assert await asyncio.gather(*tasks, return_exceptions=True) != []
        assert all(task.cancelled() for task in tasks)
    async with asyncio.timeout(1), turn_of(turns, "last"), turn_of(turns, "last"):
        pass


async def test_who_gives_up_waiting_takes_no_turn_with_them() -> None:
    turns = FairTurns(1)

    async def work(key: Hashable) -> None:
        async with turn_of(turns, key):
            await asyncio.sleep(3600)

    async with asyncio.TaskGroup() as tasks:
        async with turn_of(turns, "first"):
            early, late = (tasks.create_task(work(key), name=f"work of {key}") for key in ("a", "b"))
            await asyncio.sleep(0)
            early.cancel()
            await asyncio.sleep(0)
        late.cancel()  # its turn has come, and it does not know yet
    async with asyncio.timeout(1), turn_of(turns, "last"):
        pass
