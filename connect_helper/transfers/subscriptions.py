"""Live news of transfers for streams: a slow reader gets the latest state of each, and holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from connect_helper.transfers.transfer import Transfer


class Subscription:
    """An endless iterator over batches of changed transfers, each transfer at most once in a batch."""

    def __init__(self) -> None:
        self._changed: dict[str, Transfer] = {}
        self._news = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[list[Transfer]]:
        return self

    async def __anext__(self) -> list[Transfer]:
        await self._news.wait()
        self._news.clear()
        batch = sorted(self._changed.values(), key=lambda one: one.iteration_token)
        self._changed.clear()
        return batch

    def put(self, transfer: Transfer) -> None:
        self._changed[transfer.id] = transfer
        self._news.set()


class Subscribers:
    """Everybody who listens."""

    def __init__(self) -> None:
        self._all: set[Subscription] = set()

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        subscription = Subscription()
        self._all.add(subscription)
        try:
            yield subscription
        finally:
            self._all.discard(subscription)

    def publish(self, transfer: Transfer) -> None:
        for subscription in self._all:
            subscription.put(transfer)
