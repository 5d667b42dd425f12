"""Small requests go together over few connections, as long as nothing gets lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from connect_helper.transports.lane import Lane
from connect_helper.transports.packing import BYTES, CALM_S, FILES, REQUESTS, SMALL_FILE, Packing
from connect_helper.transports.tcp_facts import TcpFacts


def lane(
    *,
    owed: int = 0,
    users: int = 0,
    small: int = 0,
    moved: int = BYTES,
    on_way: int = 0,
    stalled: bool = False,
) -> Lane:
    """A connection with so many requests, files and bytes on their way."""
    told = SimpleNamespace(
        wire=SimpleNamespace(owed=owed),
        users=users,
        small=small,
        moved=moved,
        on_way=on_way,
        is_stalled=stalled,
    )
    return cast("Lane", cast("Any", told))


def facts(disturbed: int) -> TcpFacts:
    return TcpFacts(0.05, 0.05, disturbed)


def test_the_first_connection_gets_requests_until_it_has_enough_to_do() -> None:
    first, second = lane(owed=REQUESTS - 1), lane()
    assert Packing().choose([first, second], 0) is first
    assert Packing().choose([lane(owed=REQUESTS), second], 0) is second
    assert Packing().choose([lane(users=FILES), second], 0) is second


def test_files_count_by_their_bytes() -> None:
    first, second = lane(small=BYTES - SMALL_FILE), lane()
    assert Packing().choose([first, second], SMALL_FILE) is first
    assert Packing().choose([first, second], SMALL_FILE + 1) is second
    assert Packing().choose([lane(small=BYTES), second], 0) is not second  # a question has no bytes


def test_a_connection_that_begins_carries_little() -> None:
    first, second = lane(moved=0), lane()
    assert Packing().choose([first, second], SMALL_FILE) is first
    assert Packing().choose([lane(moved=0, small=1), second], SMALL_FILE) is second
    assert Packing().choose([lane(moved=1, small=1), second], SMALL_FILE) is not second


def test_connections_that_carry_a_large_file_or_stall_are_left_alone() -> None:
    free = lane()
    assert Packing().choose([lane(on_way=1), lane(stalled=True), free], 1) is free
    assert Packing().choose([lane(on_way=1)], 1) is None


def test_where_packets_get_lost_all_connections_share() -> None:
    packing, lanes = Packing(), [lane(), lane()]
    packing.look([facts(0), facts(0)], 1)
    assert packing.choose(lanes, 0) is lanes[0]
    packing.look([facts(1), facts(0)], 2)
    assert packing.choose(lanes, 0) is None
    packing.look([facts(1), facts(0)], 2 + CALM_S - 0.1)
    assert packing.choose(lanes, 0) is None
    packing.look([facts(1), facts(0)], 2 + CALM_S)
    assert packing.choose(lanes, 0) is lanes[0]


def test_a_connection_that_went_takes_its_losses_with_it() -> None:
    packing = Packing()
    packing.look([facts(0), facts(5)], 1)
    packing.look([facts(0)], 2)
    packing.look([facts(1)], 2 + CALM_S)  # a new one
    assert packing.choose([lane()], 0) is None


def test_where_the_system_tells_nothing_all_connections_share() -> None:
    packing = Packing()
    packing.look([facts(0), None], 1)
    assert packing.choose([lane()], 0) is None
