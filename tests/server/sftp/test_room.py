"""How much of memory and attention one SFTP session gets: all it can use alone, its part among hundreds."""

from __future__ import annotations

import asyncio

import pytest

from connect_helper.server.sftp.room import KIB, MIB, Room
from tests.support.sftp_server import FarEnd

FIELDS = ("data", "answers", "window", "socket", "turn")


def sizes(sessions: int) -> dict[str, int]:
    room = Room()
    room.sessions = sessions
    return {field: getattr(room, field) for field in FIELDS}


def test_one_session_gets_what_makes_it_fastest() -> None:
    expected = {"data": 8 * MIB, "answers": 4 * MIB, "window": 4 * MIB, "socket": MIB, "turn": 512 * KIB}
    assert sizes(0) == sizes(1) == sizes(16) == expected


@pytest.mark.parametrize("field", FIELDS)
def test_the_more_sessions_the_less_for_each(field: str) -> None:
    each = [sizes(count)[field] for count in (1, 50, 300, 1000, 10_000)]
    assert each == sorted(each, reverse=True)
    assert each[0] > each[2]
    assert each[-1] >= 32 * KIB  # a packet of any client still gets through in a few turns


def test_three_hundred_together_stay_below_a_gigabyte_and_a_half() -> None:
    held = sizes(300)
    # All that one session can hold: a disk that stands still and a line that takes nothing.
    assert 300 * (held["data"] + held["answers"] + held["socket"] + held["window"]) < 1536 * MIB


async def test_the_server_counts_its_sessions_and_opens_smaller_windows_for_further_ones(end: FarEnd) -> None:
    room = end.server._house.workers.room
    async with end.client() as first:
        await first.stat("/")
        assert windows(end) == [4 * MIB]
        room.sessions += 127
        async with end.client() as second:
            await second.stat("/")
            assert room.sessions == 129
            assert windows(end) == [2 * MIB, 4 * MIB]
        room.sessions -= 127
    async with asyncio.timeout(30):
        while room.sessions:  # noqa: ASYNC110 - the server's own pace
            await asyncio.sleep(0.02)


def windows(end: FarEnd) -> list[int]:
    """What the clients of all open channels may send before the server confirms."""
    connections = [one._connection for one in end.server._house.open]
    channels = [channel for one in connections for channel in one._channels.values()]
    return sorted(channel._init_recv_window for channel in channels)
