"""What a window has not been told yet: bounded, in order, the latest state of each."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from connect_helper.api.outbox import AT_ONCE, Outbox
from connect_helper.transfers.arrivals import arrived
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import request


def some(number: int) -> list[Transfer]:
    return [
        arrived(request(), transfer_id=f"t{one}", position=one, now=1.0).transfer for one in range(number)
    ]


async def test_very_many_changes_come_in_parts_the_oldest_first() -> None:
    outbox, changed = Outbox(), some(2 * AT_ONCE + 1)
    outbox.add_transfers(changed)
    outbox.add_topic("sites")
    newer = replace(changed[0], title="newer")
    outbox.add_transfers([newer])
    first, topics = outbox.take()
    assert (first, topics) == ([newer, *changed[1:AT_ONCE]], {"sites"})
    outbox.add_transfers(changed[:1])  # it has had its turn
    told = first
    while len(told) < 2 * AT_ONCE + 2:
        async with asyncio.timeout(5):
            await outbox.wait(60)
        part, topics = outbox.take()
        assert (0 < len(part) <= AT_ONCE, topics) == (True, set())
        told = told + part
    assert told == [newer, *changed[1:], changed[0]]
    await outbox.wait(0.01)
    assert outbox.take() == ([], set())
