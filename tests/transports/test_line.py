"""How much may be on its way over a line: as it begins, once it is full, and where it never fills."""

from __future__ import annotations

import math

import pytest

from connect_helper.transports.line import DRAINED_S, FALL, FULL_GAIN, ODD, START_GAIN, STEPS, UNKNOWN, Line
from connect_helper.transports.tcp_facts import TcpFacts

RTT_S = 0.1
STEP_S = 0.05


class Wire:
    """A line that carries `rate` bytes/s, and what is on its way over it."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.now = 0.0
        self.moved = 0
        self.line = Line(RTT_S)

    def step(
        self, rate: float, queued_s: float = 0.0, disturbed: int = 0, used: float = math.inf, lost: int = 0
    ) -> None:
        self.now += STEP_S
        self.moved += int(min(rate, self.rate) * STEP_S)
        self.line.answered(RTT_S + queued_s, self.now)
        facts = [TcpFacts(RTT_S + queued_s, RTT_S, disturbed)]
        self.line.look(self.moved, facts, self.now, used=used, lost=lost)


def test_at_first_there_is_a_floor() -> None:
    wire = Wire(1e9)
    wire.step(0)
    assert wire.line.limit == UNKNOWN


def test_a_line_that_gets_quicker_is_never_held_back() -> None:
    wire = Wire(1e12)
    rate = 10e6
    for _ in range(10):
        wire.step(rate)
        wire.step(rate)
        assert wire.line.limit >= START_GAIN * rate / 2 * RTT_S
        rate *= 2


def test_a_line_that_queues_gets_little_more_than_it_holds() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6)
        wire.line.is_starting = True
    wire.step(25e6, queued_s=0.04)
    assert wire.line.is_full
    assert wire.line.limit == pytest.approx(FULL_GAIN * 25e6 * RTT_S, rel=0.05)


def test_once_nothing_queues_any_more_it_gets_a_little_more_each_time() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    limit = wire.line.limit
    wire.step(25e6)
    assert not wire.line.is_full
    assert limit < wire.line.limit < 1.2 * limit
    wire.step(25e6, queued_s=0.04)
    assert wire.line.limit == pytest.approx(limit, rel=0.05)


def test_a_limit_that_held_nothing_back_stays() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    limit = wire.line.limit
    wire.step(25e6, used=limit / 2)
    assert wire.line.limit == limit


def test_a_little_queue_counts_when_it_is_there_twice() -> None:
    wire = Wire(25e6)
    wire.step(25e6, queued_s=0.02)
    assert not wire.line.is_full
    wire.step(25e6, queued_s=0.02)
    assert wire.line.is_full
    assert wire.line.full_at == wire.now


def test_the_next_transfer_knows_what_the_line_holds() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    limit = wire.line.limit = 12e6
    wire.line.begin_again()
    wire.moved = 0
    assert not wire.line.is_starting
    wire.step(0, used=0)
    assert wire.line.limit == limit / STEPS  # TCP sends in one burst what it is given
    for _ in range(STEPS - 1):
        wire.step(0)
    assert wire.line.limit == limit
    wire.step(1e6, queued_s=0.04)  # the beginning of a transfer says little of the line
    assert wire.line.limit == pytest.approx(FALL * limit)


def test_what_a_known_line_begins_with_may_queue_for_a_moment() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    limit = wire.line.limit = 12e6
    wire.line.begin_again()
    wire.moved = 0
    for _ in range(STEPS):
        wire.step(0)
    for _ in range(9):  # of 1.25 MB: less than the line is known to take
        wire.step(25e6, queued_s=0.04)
    assert wire.line.limit == limit / 2
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    assert wire.line.limit == pytest.approx(FULL_GAIN * 25e6 * RTT_S, rel=0.05)  # it holds less than it did


def test_transfers_that_say_nothing_of_the_line_change_nothing() -> None:
    wire = Wire(25e6)
    for _ in range(20):
        wire.step(25e6, queued_s=0.04)
    wire.line.limit = 12e6
    for _ in range(3):
        wire.line.begin_again()
        wire.moved = 0
        wire.step(0, used=0)
        assert wire.line.limit == 3e6


def test_the_next_transfer_begins_anew_where_nothing_ever_queued() -> None:
    wire = Wire(5e6)
    for _ in range(30):
        wire.step(5e6)
    wire.line.begin_again()
    wire.moved = 0
    assert wire.line.is_starting
    wire.step(0)
    assert wire.line.limit == UNKNOWN


def test_where_nothing_ever_queues_nothing_is_held_back() -> None:
    wire = Wire(5e6)  # a server that is slow itself
    for _ in range(30):
        wire.step(5e6)
    assert wire.line.limit == math.inf
    assert not wire.line.is_full


def test_a_queue_where_there_is_almost_no_round_trip_is_no_news() -> None:
    line = Line(0.02)
    line.look(0, [TcpFacts(0.028, 0.02, 0)], 0.1, used=0)
    assert not line.is_full


@pytest.mark.parametrize("fills_first", [False, True])
def test_losses_count_where_no_queue_was_seen(fills_first: bool) -> None:
    wire = Wire(25e6)
    wire.step(25e6, queued_s=0.04 if fills_first else 0.0)
    wire.step(25e6, disturbed=3)
    assert wire.line.is_lossy is not fills_first


def test_losses_long_after_a_queue_have_another_cause() -> None:
    wire = Wire(25e6)
    for _ in range(3):
        wire.step(25e6, queued_s=0.04)
    for _ in range(int(DRAINED_S / STEP_S) - 1):
        wire.step(25e6, disturbed=9, lost=9)  # those of the queue, found out about late
    assert not wire.line.is_lossy
    wire.step(25e6, disturbed=9)
    wire.step(25e6, disturbed=9)
    for _ in range(ODD):
        assert not wire.line.is_lossy
        wire.step(25e6, disturbed=9, lost=1)
    assert wire.line.is_lossy
    wire.line.begin_again()
    wire.moved = 0
    wire.step(0)
    assert wire.line.is_lossy


def test_the_next_transfer_knows_that_packets_are_lost() -> None:
    wire = Wire(25e6)
    wire.step(25e6, disturbed=1)
    wire.line.begin_again()
    wire.moved = 0
    wire.step(0)
    assert wire.line.is_lossy


def test_the_quickest_round_trip_counts() -> None:
    line = Line(0.3)  # the first packet was late
    line.look(0, [TcpFacts(0.11, 0.1, 0), TcpFacts(0.2, 0.15, 0)], 0.1, used=0)
    assert line.round_trip_s == 0.1
