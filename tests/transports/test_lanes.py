"""Several connections for one session: shared by a file, one that breaks, a server that lets in few."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from connect_helper.errors import AlreadyExists, SourceChanged, TransferError
from connect_helper.transfers.messages import Event, Progress
from connect_helper.transfers.session import Session
from connect_helper.transports import sftp_sending
from connect_helper.transports.base import BlockHashes, ReceiveItem
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.sftp_answers import Answer
from connect_helper.transports.sftp_sending import Sending
from tests.support.sessions import Listener, noise, plan_for, upload
from tests.support.sshd import SshServer, served_by
from tests.support.transports import Memory, open_transport, sending

Future = asyncio.Future[Answer]

SIZE = 24_000_001
LIMIT_S = 30
RATE_KBPS = 80_000  # slow enough for something to happen meanwhile


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not fact():  # noqa: ASYNC110 - the transport tells nobody
            await asyncio.sleep(0.02)


def fetching(path: Path, target: Memory, mtime_ns: int) -> ReceiveItem:
    return ReceiveItem(
        str(path).encode(), SIZE, mtime_ns, target, 0, BlockHashes("sha256"), lambda _count: None
    )


async def mtime_of(transport: SftpTransport, path: Path) -> int:
    facts = await transport.facts(str(path).encode())
    assert facts is not None
    return facts.mtime_ns


async def test_a_file_goes_over_all_connections_and_arrives_whole() -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root / "film"
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            item, counts = sending(content, str(path).encode())
            await transport.send(item)
            assert path.read_bytes() == content
            assert sum(counts) == SIZE
            assert item.done.offset == SIZE
            lanes = transport._all
            assert sum(lane.moved > 0 for lane in lanes.all) > 1
            target = Memory()
            fetch = fetching(path, target, await mtime_of(transport, path))
            await transport.receive(fetch)
            assert bytes(target.content) == content
            assert fetch.hashes.digest() == item.hashes.digest()
            assert lanes._moved >= 2 * SIZE  # a late block goes twice, and what was too late is dropped
            assert all(lane.on_way == 0 and lane.users == 0 for lane in lanes.all)


@pytest.mark.parametrize("divide_from", [0, SIZE + 1])
async def test_a_file_below_the_threshold_stays_on_one_connection(divide_from: int) -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root / "film"
        async with open_transport(server, connections=3, divide_from=divide_from) as transport:
            await until(lambda: transport.connections == 3)
            await transport.send(sending(content, str(path).encode())[0])
            assert path.read_bytes() == content
            target = Memory()
            await transport.receive(fetching(path, target, await mtime_of(transport, path)))
            assert bytes(target.content) == content
            moved = sorted(lane.moved for lane in transport._all.all)
            assert moved in ([0, 0, 2 * SIZE], [0, SIZE, SIZE])


@pytest.mark.parametrize("sends", [True, False])
async def test_a_further_connection_that_breaks_costs_nothing(sends: bool) -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root / "film"
        async with open_transport(server, connections=3) as transport:
            await until(lambda: transport.connections == 3)
            second = transport._all.all[1]
            target = Memory()
            if sends:
                item, counts = sending(content, str(path).encode())
                work = asyncio.create_task(transport.send(item))
            else:
                path.write_bytes(content)
                fetch = fetching(path, target, await mtime_of(transport, path))
                work = asyncio.create_task(transport.receive(fetch))
            await until(lambda: second.on_way > 0)
            second.connection.abort()
            await work
            assert (path.read_bytes() if sends else bytes(target.content)) == content
            assert second not in transport._all.all
            if sends:
                assert sum(counts) == SIZE


@pytest.mark.parametrize("sends", [True, False])
async def test_a_connection_that_is_silent_from_the_start_holds_nothing_up(sends: bool) -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root / "film"
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            path.write_bytes(b"" if sends else content)
            mtime_ns = await mtime_of(transport, path)
            frozen = served_by(server, transport._all.all[1])
            frozen.suspend()
            try:
                async with asyncio.timeout(LIMIT_S / 3):
                    if sends:
                        item, _counts = sending(content, str(path).encode(), exclusive=False)
                        await transport.send(item)
                        assert path.read_bytes() == content
                    else:
                        target = Memory()
                        await transport.receive(fetching(path, target, mtime_ns))
                        assert bytes(target.content) == content
            finally:
                frozen.resume()


async def test_another_file_of_the_name_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind an address with several machines, on one of which an earlier run left a partial file."""
    content = noise(SIZE)
    with SshServer() as server:
        path, other = server.root / "film", server.root / "film of another machine"
        other.write_bytes(b"left")
        os.utime(other, (1_600_000_000, 1_600_000_000))
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            asked = 0
            for lane in transport._all.all[1:]:
                opens, looks = lane.wire.start_open, lane.wire.start_look_at

                def opens_other(_path: bytes, flags: int, opens: Callable[..., Future] = opens) -> Future:
                    nonlocal asked
                    asked += 1
                    return opens(str(other).encode(), flags)

                def looks_at_other(_path: bytes, looks: Callable[..., Future] = looks) -> Future:
                    return looks(str(other).encode())

                monkeypatch.setattr(lane.wire, "start_open", opens_other)
                monkeypatch.setattr(lane.wire, "start_look_at", looks_at_other)
            item, _counts = sending(content, str(path).encode())
            await transport.send(item)
            assert asked >= 3
            assert other.read_bytes() == b"left"
            assert path.read_bytes() == content
            assert item.arrived is not None
            assert item.arrived.size == SIZE


def open_files(server: SshServer, path: Path) -> int:
    """How often the server's processes have a file open."""
    assert server.process is not None
    count = 0
    for process in psutil.Process(server.process.pid).children(recursive=True):
        descriptors = Path(f"/proc/{process.pid}/fd")
        with suppress(FileNotFoundError, PermissionError):
            count += sum(os.path.realpath(one) == str(path) for one in descriptors.iterdir())
    return count


@pytest.mark.parametrize("sends", [True, False])
async def test_a_file_is_opened_on_all_connections_and_closed_on_all(sends: bool) -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root.resolve() / "film"
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            opened: dict[Lane, Future] = {}
            before_the_first: list[Lane] = []
            for lane in transport._all.all:
                starts = lane.wire.start_open

                def noted(*what: Any, lane: Lane = lane, starts: Callable[..., Future] = starts) -> Future:
                    if opened and not opened[transport._all.first].done():
                        before_the_first.append(lane)
                    opened[lane] = starts(*what)
                    return opened[lane]

                lane.wire.start_open = noted  # type: ignore[method-assign]
            if sends:
                await transport.send(sending(content, str(path).encode())[0])
            else:
                path.write_bytes(content)
                target = Memory()
                await transport.receive(fetching(path, target, await mtime_of(transport, path)))
                assert bytes(target.content) == content
            assert set(opened) == set(transport._all.all)
            # A file that is just being made may be another's by the time others find one of that name.
            assert bool(before_the_first) is not sends
            await until(lambda: open_files(server, path) == 0)


async def test_a_file_that_is_not_opened_is_closed_on_the_other_connections(tmp_path: Path) -> None:
    with SshServer() as server:
        path = server.root.resolve() / "film"
        path.write_bytes(b"somebody's")
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            with pytest.raises(AlreadyExists):
                await transport.send(sending(noise(SIZE), str(path).encode())[0])
            await until(lambda: open_files(server, path) == 0)
            assert path.read_bytes() == b"somebody's"
            assert all(lane.users == 0 for lane in transport._all.all)


async def test_downloads_that_fail_leave_nothing_open(tmp_path: Path) -> None:
    with SshServer() as server:
        path = server.root.resolve() / "film"
        path.write_bytes(noise(SIZE))
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            for _ in range(20):
                with pytest.raises(SourceChanged):
                    await transport.receive(fetching(path, Memory(), 1))
            await until(lambda: open_files(server, path) == 0)


@pytest.mark.parametrize("sends", [True, False])
async def test_a_failure_is_told_though_another_connection_is_silent(sends: bool) -> None:
    with SshServer() as server:
        path = server.root / "no such folder" / "film"
        async with open_transport(server, connections=2) as transport:
            await until(lambda: transport.connections == 2)
            silent = served_by(server, transport._all.all[1])
            silent.suspend()
            if sends:
                moving = transport.send(sending(noise(SIZE), str(path).encode(), exclusive=False)[0])
            else:
                moving = transport.receive(fetching(path, Memory(), 1))
            try:
                with pytest.raises(TransferError):
                    await asyncio.wait_for(moving, 5)
            finally:
                silent.resume()


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.02])
async def test_a_stop_while_files_are_opened_leaves_nothing(after_s: float) -> None:
    with SshServer() as server:
        path = server.root.resolve() / "film"
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            work = asyncio.create_task(transport.send(sending(noise(SIZE), str(path).encode())[0]))
            await asyncio.sleep(after_s)
            work.cancel()
            await asyncio.wait([work])
            assert work.cancelled()
            assert {task.get_name() for task in asyncio.all_tasks()} & {"early opening", "way"} == set()


async def test_a_further_connection_that_died_unused_is_asked_nothing() -> None:
    with SshServer() as server:
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            dead = transport._all.all[1:]
            for lane in dead:
                served_by(server, lane).kill()
            await until(lambda: transport.connections == 1)
            for _ in range(8):
                assert await transport.facts(str(server.root).encode()) is not None


async def test_what_a_broken_off_try_sent_is_not_written_over_the_next_one(tmp_path: Path) -> None:
    """The next try has a file of its own, whatever is still on its way to the first one's."""
    source = tmp_path / "film"
    source.write_bytes(noise(SIZE))
    with SshServer() as server:
        target = server.root / "film"
        listener = Changing(source)
        plan = plan_for(server, [upload(source, target)], tmp_path / "resume", connections=4)
        session = Session(plan.model_copy(update={"rate_kbps": RATE_KBPS}), listener)
        ended = await session.run()
        assert ended.outcome == "completed", ended
        assert listener.changed
        whole = target.read_bytes() == source.read_bytes()
        assert whole  # without a comparison in words, which takes minutes


class Changing(Listener):
    """Writes the source anew when the first bytes of it have arrived."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        self._source = source
        self.changed = False

    async def tell(self, event: Event) -> None:
        await super().tell(event)
        if isinstance(event, Progress) and event.bytes_written and not self.changed:
            self.changed = True
            self._source.write_bytes(noise(SIZE // 2, seed=2))


@pytest.mark.parametrize("sends", [True, False])
async def test_a_connection_that_falls_silent_holds_nothing_up(sends: bool) -> None:
    content = noise(SIZE)
    with SshServer() as server:
        path = server.root / "film"
        async with open_transport(server, connections=4) as transport:
            await until(lambda: transport.connections == 4)
            lane, target = transport._all.all[1], Memory()
            frozen = served_by(server, lane)
            if sends:
                item, counts = sending(content, str(path).encode())
                work = asyncio.create_task(transport.send(item))
            else:
                path.write_bytes(content)
                fetch = fetching(path, target, await mtime_of(transport, path))
                work = asyncio.create_task(transport.receive(fetch))
            await until(lambda: lane.on_way > 0)
            frozen.suspend()
            try:
                async with asyncio.timeout(LIMIT_S):
                    await work
                assert (path.read_bytes() if sends else bytes(target.content)) == content
                if sends:
                    assert sum(counts) == SIZE
                    assert lane not in transport._all.all  # a second copy of a block may be on its way there
            finally:
                frozen.resume()


@pytest.mark.parametrize("used", [True, False])
async def test_a_connection_that_waits_for_late_copies_is_kept_for_a_file_that_came_to_it(used: bool) -> None:
    with SshServer() as server:
        path = server.root / "film"
        path.write_bytes(b"")
        async with open_transport(server, connections=2) as transport:
            await until(lambda: transport.connections == 2)
            lanes = transport._all
            lane = next(one for one in lanes.all if one is not lanes.first)
            moving = Sending(lanes, transport._limiter, sending(b"", str(path).encode())[0])
            moving.first = lanes.first
            handle = await moving.open(lane)
            frozen = served_by(server, lane)
            frozen.suspend()
            closing = asyncio.create_task(moving.close_handle(lane, handle, clean=False))
            try:
                await asyncio.sleep(0.01)
                lane.users += used
                await asyncio.wait([closing], timeout=10 * sftp_sending.COPY_S)
                assert (lane in lanes.all) == used
                assert closing.done() != used
            finally:
                frozen.resume()
            await closing
            lane.users -= used


async def test_a_connection_that_is_lost_as_it_opens_is_not_joined() -> None:
    with SshServer() as server:
        async with open_transport(server, connections=3) as transport:
            await until(lambda: transport.connections == 3)
            lanes = transport._all
            opener, dead = lanes._opener, asyncio.Event()

            async def losing(logged_in: Callable[[], None]) -> Lane:
                lane = await opener(logged_in)
                lane.connection.abort()
                await until(lambda: lane.wire.is_lost)
                dead.set()
                return lane

            lanes._opener = losing
            lanes._starting += 1
            lanes._logging_in += 1
            await lanes._start()
            assert dead.is_set()
            assert transport.connections == 3
            assert not any(lane.wire.is_lost for lane in lanes.all)


async def test_a_server_that_lets_in_few_is_no_fault() -> None:
    with SshServer(extra="PerSourceMaxStartups 3\n") as server:
        async with open_transport(server, connections=12) as transport:
            item, _counts = sending(noise(SIZE), str(server.root / "film").encode())
            await transport.send(item)
            assert (server.root / "film").stat().st_size == SIZE
            assert 1 <= transport.connections <= 12


async def test_a_source_that_changes_is_noticed_on_every_connection() -> None:
    with SshServer() as server:
        path = server.root / "film"
        path.write_bytes(noise(SIZE))
        async with open_transport(server, connections=3) as transport:
            mtime_ns = await mtime_of(transport, path)
            with path.open("ab") as film:
                film.write(b"more")
            with pytest.raises(SourceChanged):
                await transport.receive(fetching(path, Memory(), mtime_ns))


async def test_connections_stay_one_where_answers_come_at_once() -> None:
    with SshServer() as server:
        async with open_transport(server) as transport:
            lanes: Lanes = transport._all
            lanes.first.round_trip_s = 0.0001
            item, _counts = sending(noise(SIZE), str(server.root / "film").encode())
            await transport.send(item)
            assert transport.connections == 1


def far(lanes: Lanes) -> None:
    lanes.line.round_trip_s = lanes.first.round_trip_s = 0.1


@pytest.mark.parametrize("comes", ["room", "answer"])
async def test_who_waits_for_an_answer_goes_on_when_the_line_takes_more(comes: str) -> None:
    with SshServer() as server:
        async with open_transport(server) as transport:
            lanes = transport._all
            lanes.line.limit = lanes.first.on_way = 1
            answer: Future = asyncio.get_running_loop().create_future()
            waiting = asyncio.create_task(lanes.more_room(lanes.first, answer))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            if comes == "room":
                far(lanes)  # from here on the line is looked at, and found to take more
            else:
                answer.set_result((101, b""))
            async with asyncio.timeout(LIMIT_S):
                await waiting
            assert answer.done() is (comes == "answer")
            lanes.first.on_way = 0


async def test_what_is_expected_opens_connections_before_anything_moves() -> None:
    with SshServer() as server:
        async with open_transport(server) as transport:
            far(transport._all)
            transport.expect(5 * 1024 * 1024)
            await until(lambda: transport.connections == 5)


async def test_a_busy_machine_near_by_needs_one_connection() -> None:
    with SshServer() as server:
        async with open_transport(server) as transport:
            lanes = transport._all
            for line_s, answer_s, near in (
                (0.0001, 0.0002, True),
                (0.0001, 0.03, True),  # busy
                (0.0001, 0.1, False),  # something near by passes the connection on
                (0.02, 0.02, False),
                (0.02, 0.001, True),  # the first packet was late
            ):
                lanes.line.round_trip_s, lanes.first.round_trip_s = line_s, answer_s
                assert lanes._is_near() is near
