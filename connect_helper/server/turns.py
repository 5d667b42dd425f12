"""So many at a time for each key, one as a rule: others wait for their turn, in the order they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Turn:
    places: asyncio.Semaphore
    interested: int = 0  # who has it and who waits


class Turns:
    """Remembers only keys that somebody has or waits for. Belongs to the event loop's thread."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._turns: dict[Hashable, _Turn] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn of `key`, and have it until the context ends."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn(asyncio.Semaphore(self._at_once))
        turn.interested += 1
        try:
            async with turn.places:
                yield
        finally:
            turn.interested -= 1
            if not turn.interested:
                del self._turns[key]
