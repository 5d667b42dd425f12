"""The rate limiter and the window, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import time

import pytest

from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.window import FIRST, LARGEST, ROUND_TRIPS, SECONDS, SMALLEST, Window


@pytest.mark.parametrize("block", [4_096, 16_384, 100_000])
async def test_the_rate_holds_within_five_percent(block: int) -> None:
    bucket = TokenBucket(8_000)  # 1 MB/s
    began, moved = time.monotonic(), 0
    while time.monotonic() - began < 2:
        await bucket.take(block)
        moved += block
    # The burst, a tenth of a second, counts fully in so short a time; over ten seconds it is one percent.
    assert moved - block <= (time.monotonic() - began) * 1_000_000 * 1.05 + 100_000
    assert moved >= (time.monotonic() - began) * 1_000_000 * 0.9


async def test_a_new_rate_reaches_those_who_wait() -> None:
    bucket = TokenBucket(8)  # 1 kB/s
    await bucket.take(1_000_000)
    waiting = asyncio.create_task(bucket.take(1))
    await asyncio.sleep(0)
    bucket.set_rate(None)
    async with asyncio.timeout(1):
        await waiting


async def test_a_lower_rate_is_not_stalled_by_the_debt_of_a_higher_one() -> None:
    bucket = TokenBucket(8_000_000)
    await bucket.take(10_000_000)
    bucket.set_rate(80)  # 10 kB/s: the debt would take a quarter of an hour
    async with asyncio.timeout(1):
        await bucket.take(100)


async def test_first_come_first_served() -> None:
    bucket = TokenBucket(8_000)
    done: list[int] = []

    async def one(number: int) -> None:
        await bucket.take(50_000)
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(one(number))
    assert done == list(range(8))


def test_blocks_fit_the_rate() -> None:
    bucket = TokenBucket(None)
    assert bucket.block_limit() > LARGEST
    for rate_kbps, most in ((8_000, 100_000), (80, 4_096), (1, 4_096)):
        bucket.set_rate(rate_kbps)
        assert bucket.block_limit() == most


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("rate", "size"), [(1_000, SMALLEST), (1_000_000, int(1_000_000 * SECONDS)), (10**9, LARGEST)]
)
def test_the_window_follows_the_measured_rate(rate: int, size: int) -> None:
    clock = Clock()
    window = Window(255 * 1024, clock)
    assert window.size == FIRST
    for _ in range(100):
        clock.now += 0.01
        window.answered(rate // 100, last=False)
    assert window.size == pytest.approx(size, rel=0.02)
    assert 1 <= window.block(1 << 30) <= 255 * 1024
    assert window.block(5_000) == 5_000


def test_the_window_covers_a_long_round_trip() -> None:
    clock = Clock()
    window = Window(255 * 1024, clock)
    window.round_trip_s = 0.6
    for _ in range(100):
        clock.now += 0.01
        window.answered(10_000, last=False)
    assert window.size == pytest.approx(1_000_000 * 0.6 * ROUND_TRIPS, rel=0.02)


def test_a_pause_counts_for_nothing() -> None:
    clock = Clock()
    window = Window(255 * 1024, clock)
    for _ in range(100):  # little at a time, with pauses between
        clock.now += 0.01
        window.answered(100_000, last=True)
        clock.now += 60
        window.begin()
    assert window.rate == pytest.approx(10_000_000, rel=0.1)
    assert window.size == pytest.approx(10_000_000 * SECONDS, rel=0.1)
