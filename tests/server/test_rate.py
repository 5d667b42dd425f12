"""The rate limit, on a clock turned by hand where that is enough."""

from __future__ import annotations

import asyncio
import time

from connect_helper.server.rate import RateLimit


async def test_without_a_limit_nobody_waits() -> None:
    limit = RateLimit()
    async with asyncio.timeout(1):
        for _ in range(1000):
            await limit.take(1 << 30)


async def test_bytes_take_the_time_the_rate_says() -> None:
    limit = RateLimit(8000)  # 1 MB/s
    began = time.monotonic()
    for _ in range(6):
        await limit.take(50_000)
    # 250 kB wait for those before them, less what may be made up for.
    assert 0.14 <= time.monotonic() - began <= 1.5


async def test_a_lifted_limit_frees_who_waits() -> None:
    limit = RateLimit(8)
    await limit.take(1_000_000)  # a thousand seconds' worth
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(limit.take(1_000_000)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        limit.change(None)


async def test_a_higher_limit_shortens_the_wait_that_is_under_way() -> None:
    limit = RateLimit(8)
    await limit.take(10_000)  # ten seconds' worth
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(limit.take(1))
        await asyncio.sleep(0)
        limit.change(8_000)


async def test_one_who_gives_up_does_not_block_the_next() -> None:
    limit = RateLimit(800)
    await limit.take(5_000)
    first = asyncio.create_task(limit.take(1))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(2):
        await limit.take(1)
    assert first.cancelled()
