"""One at a time for each key."""

from __future__ import annotations

import asyncio

import pytest

from connect_helper.server.turns import Turns


async def test_the_same_key_waits_and_another_does_not() -> None:
    turns = Turns()
    order: list[str] = []

    async def second() -> None:
        async with turns.of("a"):
            order.append("second")

    async with turns.of("a"):
        waiting = asyncio.create_task(second())
        async with turns.of("b"):
            order.append("other")
        await asyncio.sleep(0)
        order.append("first")
    await waiting
    assert order == ["other", "first", "second"]
    assert len(turns) == 0


async def test_whoever_gives_up_waiting_or_fails_leaves_nothing_behind() -> None:
    turns = Turns()

    async def wait() -> None:
        async with turns.of("a"):
            raise AssertionError

    async with turns.of("a"):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(turns) == 0
    with pytest.raises(AssertionError):
        await wait()
    assert len(turns) == 0
