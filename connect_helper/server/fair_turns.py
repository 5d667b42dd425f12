"""Turns for long work: a few have theirs at a time, and who asks for many does not keep the others waiting.

Those who wait stand in one line for each key, oldest first, and the lines are served in rotation. Belongs to
the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


class FairTurns:
    """`most` at a time."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}  # whose turn comes next stands first

    async def take(self, key: Hashable) -> None:
        """Wait for a turn, and have it until `give_back`: no longer than the thread it is for is at work."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(key)

    async def _wait(self, key: Hashable) -> None:
        turn = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(key, deque())
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it had come in the same moment
            else:
                self._leave(key, turn)
            raise

    def _leave(self, key: Hashable, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(key)
        if line is not None and turn in line:  # not, where it was passed over meanwhile
            line.remove(turn)
            if not line:
                del self._lines[key]

    def give_back(self) -> None:
        """End a turn; it is the next one's."""
        while self._lines:
            key = next(iter(self._lines))
            line = self._lines.pop(key)
            turn = line.popleft()
            if line:
                self._lines[key] = line  # behind all others
            if not turn.done():  # who is cancelled stands there until they hear of it
                turn.set_result(None)
                return
        self._free += 1
