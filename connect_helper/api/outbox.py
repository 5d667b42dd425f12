"""News on their way to one listener: bounded whatever the listener does, and nobody waits for it."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

from connect_helper.transfers.transfer import Transfer

AT_ONCE: Final = 100  # transfers in one send: with a thousand running, each is news every few seconds


class Outbox:
    """What one listener has not been told yet: changes of one transfer melt into its latest state."""

    def __init__(self) -> None:
        self._transfers: dict[str, Transfer] = {}
        self._topics: set[str] = set()
        self._news = asyncio.Event()
        self.closed = False

    def add_transfers(self, changed: list[Transfer]) -> None:
        for transfer in changed:
            self._transfers[transfer.id] = transfer  # in the place it had, if it waits already
        self._news.set()

    def add_topic(self, topic: str) -> None:
        self._topics.add(topic)
        self._news.set()

    def close(self) -> None:
        self.closed = True
        self._news.set()

    async def wait(self, limit_s: float) -> None:
        """Return when there is news, the stream is to end, or after `limit_s` seconds."""
        try:
            async with asyncio.timeout(limit_s):
                await self._news.wait()
        except TimeoutError:
            return

    def take(self) -> tuple[list[Transfer], set[str]]:
        """Hand over the topics and the transfers that wait for longest."""
        some = list(islice(self._transfers.values(), AT_ONCE))
        for transfer in some:
            del self._transfers[transfer.id]
        topics, self._topics = self._topics, set()
        if not self._transfers:
            self._news.clear()
        return some, topics
