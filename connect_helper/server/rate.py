"""A limit on bytes per second that several tasks share and that can be changed while they wait.

Time is handed out in turn: each block books the stretch of time it takes at the present rate, and its owner
sleeps until that stretch begins. So a block larger than the rate passes too, and the next one waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_LEAD_S: Final = 0.1  # time not used so far that may be made up for


class RateLimit:
    """`kbps` in kbit/s of 1000 bit; None is no limit."""

    def __init__(self, kbps: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kbps = kbps
        self._free_at = clock()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def kbps(self) -> int | None:
        return self._kbps

    def change(self, kbps: int | None) -> None:
        """Set another limit; who waits notices at once."""
        if kbps == self._kbps:
            return
        if self._kbps is not None and kbps is not None:
            now = self._clock()
            # What is booked stays booked as bytes: half the rate makes it twice as long.
            self._free_at = now + (self._free_at - now) * self._kbps / kbps
        self._kbps = kbps
        self._changed.set()

    async def take(self, amount: int) -> None:
        """Wait until `amount` bytes may be moved."""
        if self._kbps is None and not self._turn.locked():
            return
        async with self._turn:
            while (wait_s := self._wait_s()) > 0:
                await self._wait_or_change(wait_s)
            if self._kbps is not None:
                start = max(self._free_at, self._clock() - _LEAD_S)
                self._free_at = start + amount * 8 / (self._kbps * 1000)

    def _wait_s(self) -> float:
        return 0.0 if self._kbps is None else self._free_at - self._clock()

    async def _wait_or_change(self, wait_s: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return
