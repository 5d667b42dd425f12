"""What arrives goes to the disk in its order, one batch while the next one comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from connect_helper.errors import DiskFull
from connect_helper.transports.base import BlockHashes, ReceiveItem
from connect_helper.transports.http_order import InOrder
from tests.support.transports import Memory

BATCH = 10


class Slow(Memory):
    """A target whose disk takes its time, and may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.full = False

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        assert self.go_on.wait(10)
        if self.full:
            raise DiskFull("no space")
        super().write(offset, data)


def order_of(target: Memory, size: int) -> tuple[InOrder, ReceiveItem, list[int]]:
    counts: list[int] = []
    item = ReceiveItem(b"film", size, 0, target, 0, BlockHashes("sha256"), counts.append)
    return InOrder(item, lambda: BATCH), item, counts


async def test_the_next_batch_comes_while_one_is_written() -> None:
    target = Slow()
    order, item, counts = order_of(target, 3 * BATCH)
    part = await order.part(3 * BATCH, 3 * BATCH)
    assert part is not None
    async with asyncio.timeout(5):
        await order.add(part, b"a" * BATCH)  # under way
        await order.add(part, b"b" * (BATCH - 1))  # not a whole batch
    third = asyncio.create_task(order.add(part, b"b"), name="add")
    await asyncio.sleep(0.05)
    assert not third.done()  # no more than two are held
    assert item.done.offset == 0
    target.go_on.set()
    await third
    await order.add(part, b"c" * BATCH)
    await order.flush()
    assert target.content == b"a" * BATCH + b"b" * BATCH + b"c" * BATCH
    assert counts == [BATCH] * 3
    assert item.done.offset == 3 * BATCH


async def test_nothing_is_written_behind_what_could_not_be() -> None:
    target = Slow()
    order, item, counts = order_of(target, 4 * BATCH)
    first, second = await order.part(2 * BATCH, 4 * BATCH), await order.part(2 * BATCH, 4 * BATCH)
    assert first is not None
    assert second is not None
    target.full = True
    target.go_on.set()
    await order.add(first, b"a" * BATCH)
    with pytest.raises(DiskFull):
        await order.add(first, b"b" * BATCH)
    target.full = False
    await order.add(second, b"c" * BATCH)
    with pytest.raises(DiskFull):
        await order.flush()
    await order.settle()
    assert target.content == b""
    assert counts == []
    assert item.done.offset == 0


async def test_who_is_cancelled_waits_for_the_disk() -> None:
    target = Slow()
    order, item, counts = order_of(target, 2 * BATCH)
    part = await order.part(2 * BATCH, 2 * BATCH)
    assert part is not None
    await order.add(part, b"a" * BATCH)
    settling = asyncio.create_task(order.settle(), name="settle")
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.sleep(0.05)
    assert not settling.done()
    target.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await settling
    assert counts == [BATCH]
    assert item.done.offset == BATCH
