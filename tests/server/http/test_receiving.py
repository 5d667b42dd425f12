"""A body on its way to the disk: all of it or a true prefix, whatever happens."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from connect_helper.server.http import receiving
from connect_helper.server.http.receiving import Destination, End, Receiver, Share
from connect_helper.server.http.threads import disk_threads


class Pieces:
    """A body of known pieces; after the last it ends, or never does."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self._pieces = list(pieces)
        self._ends = ends

    async def readany(self) -> bytes:
        await asyncio.sleep(0)
        if not self._pieces and not self._ends:
            await asyncio.get_running_loop().create_future()
        return self._pieces.pop(0) if self._pieces else b""


@pytest.fixture
def disk() -> Iterator[Executor]:
    threads = disk_threads()
    yield threads
    threads.shutdown()


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


async def at_once(_: int) -> None:
    """No rate limit."""


async def untold(_offset: int, _synced: int) -> None:
    """Nobody notes the progress."""


async def test_every_byte_is_written_and_hashed(handle: int, disk: Executor) -> None:
    content = os.urandom(3_000_000)
    digest = hashlib.sha256()
    destination = Destination(handle, 0, 0, (digest,))
    body = Pieces(*(content[at : at + 70_001] for at in range(0, len(content), 70_001)))
    told = []

    async def note(offset: int, synced: int) -> None:
        told.append((offset, synced))

    end = await Receiver(body, destination, disk=disk, pace=at_once, idle_s=5).run(len(content), note)
    assert (end, destination.offset) == (End.WHOLE, len(content))
    assert os.pread(handle, len(content) + 1, 0) == content
    assert digest.digest() == hashlib.sha256(content).digest()
    assert told == sorted(told)
    assert told[-1][0] <= len(content)


async def test_nothing_past_the_limit_is_written(handle: int, disk: Executor) -> None:
    destination = Destination(handle, 0, 0)
    body = Pieces(b"abc", b"defg")
    end = await Receiver(body, destination, disk=disk, pace=at_once, idle_s=5).run(5, untold)
    assert end is End.TOO_LONG
    assert os.pread(handle, 10, 0) == b"abc"


async def test_after_a_failed_write_no_later_bytes_take_its_place(
    handle: int, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "BATCH", 10)
    written, write = [], os.pwritev

    def full_for_a_moment(file: int, views: list[memoryview], offset: int) -> int:
        written.append(offset)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "full")
        return write(file, views, offset)

    monkeypatch.setattr(os, "pwritev", full_for_a_moment)
    destination = Destination(handle, 0, 0)
    body = Pieces(b"a" * 10, b"b" * 10, b"c" * 10, b"d" * 10)
    with pytest.raises(OSError, match="full"):
        await Receiver(body, destination, disk=disk, pace=at_once, idle_s=5).run(40, untold)
    assert os.pread(handle, 100, 0) == b"a" * 10
    assert destination.offset == 10


async def test_a_write_that_fails_while_another_request_takes_over_is_not_passed_over(
    handle: int, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "BATCH", 10)
    under_way, may_fail, write = threading.Event(), threading.Event(), os.pwritev

    def full_for_a_moment(file: int, views: list[memoryview], offset: int) -> int:
        if not under_way.is_set():
            under_way.set()
            assert may_fail.wait(30)
            raise OSError(errno.ENOSPC, "full")
        return write(file, views, offset)

    monkeypatch.setattr(os, "pwritev", full_for_a_moment)
    destination = Destination(handle, 0, 0)
    body = Pieces(b"a" * 10, b"b" * 10, ends=False)
    receiver = Receiver(body, destination, disk=disk, pace=at_once, idle_s=5)
    running = asyncio.create_task(receiver.run(30, untold), name="receive")
    assert await asyncio.to_thread(under_way.wait, 30)
    for _ in range(10):  # the next ten bytes have come, and wait for those before
        await asyncio.sleep(0)
    receiver.let_go()
    for _ in range(10):
        await asyncio.sleep(0)
    may_fail.set()
    with pytest.raises(OSError, match="full"):
        await running
    assert os.fstat(handle).st_size == destination.offset == 0


async def test_what_came_is_written_when_nothing_follows(
    handle: int, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept in memory for as long as the client likes."""
    monkeypatch.setattr(receiving, "QUIET_S", 0.02)
    let_go = threading.Semaphore(0)

    class Noticed(bytes):
        def __del__(self) -> None:
            let_go.release()

    body = Pieces(Noticed(b"abc"), Noticed(b"de"), ends=False)
    receiver = Receiver(body, Destination(handle, 0, 0), disk=disk, pace=at_once, idle_s=30)
    running = asyncio.create_task(receiver.run(10, untold), name="receive")
    async with asyncio.timeout(10):
        while os.fstat(handle).st_size < 5:  # noqa: ASYNC110 - the file tells nobody
            await asyncio.sleep(0.01)
    for _ in range(2):
        assert await asyncio.to_thread(let_go.acquire, timeout=10)
    assert not running.done()
    receiver.let_go()
    assert await running is End.WANTED
    assert os.pread(handle, 10, 0) == b"abcde"


async def test_a_quiet_write_that_fails_is_the_end(
    handle: int, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "QUIET_S", 0.02)
    failed, may_go_on = threading.Event(), asyncio.Event()

    def full(_file: int, _views: list[memoryview], _offset: int) -> int:
        failed.set()
        raise OSError(errno.ENOSPC, "full")

    class Pausing(Pieces):
        async def readany(self) -> bytes:
            if len(self._pieces) == 1:
                await may_go_on.wait()
            return await super().readany()

    monkeypatch.setattr(os, "pwritev", full)
    destination = Destination(handle, 0, 0)
    receiver = Receiver(Pausing(b"abc", b"de"), destination, disk=disk, pace=at_once, idle_s=30)
    running = asyncio.create_task(receiver.run(10, untold), name="receive")
    assert await asyncio.to_thread(failed.wait, 10)
    await asyncio.sleep(0.1)  # looked at a few times more
    may_go_on.set()
    with pytest.raises(OSError, match="full"):
        await running
    assert destination.offset == 0


async def test_many_bodies_gather_less_each(
    tmp_path: Path, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each brings a little now and then, and is never quiet."""
    monkeypatch.setattr(receiving, "GATHERED", 400_000)
    monkeypatch.setattr(receiving, "LEAST_BATCH", 1000)
    share = Share()
    handles = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(10)]
    running = []
    for handle in handles:
        body = Pieces(*[b"x" * 10_000] * 5, ends=False)
        receiver = Receiver(body, Destination(handle, 0, 0), disk=disk, pace=at_once, idle_s=30, share=share)
        running.append(asyncio.create_task(receiver.run(10**6, untold), name="receive"))
    async with asyncio.timeout(10):
        while any(os.fstat(handle).st_size < 40_000 for handle in handles):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert [os.fstat(handle).st_size for handle in handles] == [50_000] * 10
    assert share.running == 0
    for handle in handles:
        os.close(handle)


async def test_our_own_throttling_is_not_the_clients_silence(handle: int, disk: Executor) -> None:
    async def slowly(_: int) -> None:
        await asyncio.sleep(0.06)

    destination = Destination(handle, 0, 0)
    body = Pieces(*[b"x" * 100] * 5)
    end = await Receiver(body, destination, disk=disk, pace=slowly, idle_s=0.05).run(500, untold)
    assert end is End.WHOLE


async def test_dripping_bytes_do_not_hold_a_place(handle: int, disk: Executor) -> None:
    class Dripping:
        came = 0

        async def readany(self) -> bytes:
            if self.came:  # the first byte comes in time on any machine
                await asyncio.sleep(0.005)
            self.came += 1
            return b"x"

    destination = Destination(handle, 0, 0)
    end = await Receiver(Dripping(), destination, disk=disk, pace=at_once, idle_s=0.1).run(10**6, untold)
    assert end is End.STALLED
    assert os.fstat(handle).st_size == destination.offset > 0


@pytest.mark.parametrize("how", ["taken over", "cancelled"])
async def test_broken_off_it_leaves_what_came(handle: int, disk: Executor, how: str) -> None:
    destination = Destination(handle, 0, 0)
    receiver = Receiver(Pieces(b"abc", ends=False), destination, disk=disk, pace=at_once, idle_s=5)
    running = asyncio.create_task(receiver.run(10, untold), name="receive")
    for _ in range(5):
        await asyncio.sleep(0)
    if how == "taken over":
        receiver.let_go()
        assert await running is End.WANTED
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert os.pread(handle, 10, 0) == b"abc"
    assert destination.offset == 3


async def test_taken_over_while_the_last_bytes_are_written(
    handle: int, disk: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken connection is over before its bytes are on the disk; the next request may come meanwhile."""
    may_write, write = threading.Event(), os.pwritev

    def slowly(file: int, views: list[memoryview], offset: int) -> int:
        assert may_write.wait(30)
        return write(file, views, offset)

    monkeypatch.setattr(os, "pwritev", slowly)
    receiver = Receiver(Pieces(b"abc"), Destination(handle, 0, 0), disk=disk, pace=at_once, idle_s=5)
    running = asyncio.create_task(receiver.run(10, untold), name="receive")
    for _ in range(10):
        await asyncio.sleep(0)
    receiver.let_go()
    may_write.set()
    assert await running is End.WHOLE
    assert os.pread(handle, 10, 0) == b"abc"


def test_the_disk_is_looked_at_again_as_the_file_grows(handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "SYNC_EVERY", 1000)
    destination = Destination(handle, 0, 0, keep_free=1e-9)
    destination.write([b"x" * 600])
    destination.keep_free = 1.0
    destination.write([b"x" * 600])  # looked at not long ago
    with pytest.raises(OSError, match="space") as caught:
        destination.write([b"x"])
    assert caught.value.errno == errno.ENOSPC
    assert os.fstat(handle).st_size == destination.offset == 1200
