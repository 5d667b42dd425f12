"""The event loop of the server: who is new waits for a few busy connections, not for all."""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connect_helper.server.fast_lane import FEW, LaneLoop, LaneSelector, arrived, give_way, new_loop

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the system has no epoll")
BUSY = 10 * FEW


@contextlib.contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connections, each with the end that a server would have first."""
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(count)]
        for pair in made:
            for end in pair:
                end.setblocking(False)
                stack.enter_context(end)
        yield made


def on_loop(test: Callable[[LaneLoop], Any]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LaneLoop)
        await test(loop)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_new_connection_waits_for_a_few_busy_ones_only() -> None:
    async def test(loop: LaneLoop) -> None:
        heard: list[int] = []
        done = loop.create_future()
        with pairs(BUSY + 1) as made:
            for number, (ours, theirs) in enumerate(made):

                def readable(number: int = number, ours: socket.socket = ours) -> None:
                    ours.recv(10)
                    heard.append(number)
                    if number == BUSY:
                        done.set_result(None)

                loop.add_reader(ours, readable)
                if number < BUSY:
                    give_way(ours)
                theirs.send(b"x")
            await done
            assert len(heard) <= FEW + 1  # an ordinary loop would have heard all of them first
            while len(heard) <= BUSY:  # noqa: ASYNC110 - turns of the loop are what is tested
                await asyncio.sleep(0)
            assert sorted(heard) == list(range(BUSY + 1))
            for ours, _ in made:
                loop.remove_reader(ours)

    on_loop(test)


def test_all_busy_connections_have_their_turn() -> None:
    async def test(loop: LaneLoop) -> None:
        heard = [0] * BUSY
        with pairs(BUSY) as made:
            for number, (ours, theirs) in enumerate(made):

                def readable(number: int = number) -> None:
                    heard[number] += 1  # reads nothing: there is always something for everybody

                loop.add_reader(ours, readable)
                give_way(ours)
                theirs.send(b"x")
            while sum(heard) < 5 * BUSY:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            for ours, _ in made:
                loop.remove_reader(ours)
        assert max(heard) - min(heard) <= 1

    on_loop(test)


def test_a_descriptor_that_gave_way_is_new_for_the_next_connection() -> None:
    async def test(loop: LaneLoop) -> None:
        with pairs(1) as [(ours, _)]:
            give_way(ours)  # before it is listened to
            loop.add_reader(ours, lambda: None)
            assert loop.lanes._lane(ours) is loop.lanes._slow
            arrived(ours)
            assert loop.lanes._lane(ours) is loop.lanes._quick
            assert loop.lanes.get_key(ours.fileno()).events == selectors.EVENT_READ
            loop.remove_reader(ours)

    on_loop(test)


async def test_an_ordinary_loop_knows_no_lanes() -> None:
    with pairs(1) as [(ours, _)]:
        give_way(ours)
        arrived(ours)


@pytest.mark.parametrize("slow", [False, True])
def test_a_lane_is_listened_to_like_any_selector(slow: bool) -> None:
    lanes = LaneSelector()
    with pairs(1) as [(ours, theirs)], contextlib.closing(lanes):
        lanes.move(ours.fileno(), slow=slow)
        assert lanes.get_map().get(ours.fileno()) is None
        lanes.register(ours, selectors.EVENT_READ, "read")
        assert lanes.select(0) == []
        theirs.send(b"x")
        [(key, events)] = lanes.select(5)
        assert (key.data, events) == ("read", selectors.EVENT_READ)
        lanes.modify(ours, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
        [(key, events)] = lanes.select(5)
        assert (key.data, events) == ("both", selectors.EVENT_READ | selectors.EVENT_WRITE)
        lanes.move(ours.fileno(), slow=not slow)
        [(key, events)] = lanes.select(5)
        assert (key.data, events) == ("both", selectors.EVENT_READ | selectors.EVENT_WRITE)
        theirs.close()
        assert lanes.select(5)
        lanes.unregister(ours)
        assert lanes.select(0) == []
        with pytest.raises(KeyError):
            lanes.get_key(ours)
