"""One rate limit for everything a session moves; it can be changed while bytes flow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BURST_S = 0.1  # seconds of unused rate that may be made up for
SLICE_S = 0.1  # a block should take no longer than this at the limit
SMALLEST_BLOCK = 4 * 1024
UNLIMITED_BLOCK = 1 << 30


class TokenBucket:
    """A token bucket over bytes, first come first served.

    A block is let through as soon as the bucket is above zero and may take it below: so a block
    larger than the burst passes too, and the next one waits for the debt.
    """

    def __init__(self, rate_kbps: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bytes_per_s: float | None = None
        self._level = 0.0
        self._filled_at = clock()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.set_rate(rate_kbps)

    def set_rate(self, rate_kbps: int | None) -> None:
        """Set the limit in kbit/s of 1000 bit; None lifts it. Waiters notice at once."""
        self._fill()
        self._bytes_per_s = None if rate_kbps is None else max(rate_kbps, 1) * 1000 / 8
        # Debt made at a high rate must not stall a low one for longer than one slice of it.
        if self._bytes_per_s is not None:
            self._level = max(self._level, -self._bytes_per_s * SLICE_S)
        self._changed.set()

    def block_limit(self) -> int:
        """Bytes to take at once at most, for an even flow at low rates."""
        if self._bytes_per_s is None:
            return UNLIMITED_BLOCK
        return max(SMALLEST_BLOCK, int(self._bytes_per_s * SLICE_S))

    async def take(self, amount: int) -> None:
        """Wait until `amount` bytes may be moved."""
        if self._bytes_per_s is None and not self._turn.locked():
            return
        async with self._turn:
            while (wait_s := self._wait()) > 0:
                await self._wait_or_change(wait_s)
            self._level -= amount

    def _wait(self) -> float:
        """Seconds until the bucket is above zero at the present rate."""
        if self._bytes_per_s is None:
            return 0.0
        self._fill()
        return -self._level / self._bytes_per_s if self._level < 0 else 0.0

    async def _wait_or_change(self, wait_s: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _fill(self) -> None:
        now = self._clock()
        if self._bytes_per_s is None:
            self._level = 0.0
        else:
            earned = (now - self._filled_at) * self._bytes_per_s
            self._level = min(self._level + earned, self._bytes_per_s * BURST_S)
        self._filled_at = now
