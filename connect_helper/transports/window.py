"""How much of one file is on its way at once: enough to fill the line, not so much that it queues up.

With too little on its way a long line stands idle between answers; with too much on a slow line a stop
or a new rate shows late, and the first answer of a large block takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

KIB: Final = 1024
SMALLEST: Final = 64 * KIB
LARGEST: Final = 16 * 1024 * KIB
FIRST: Final = 128 * KIB
SMALLEST_BLOCK: Final = 32 * KIB
BLOCKS: Final = 8  # requests on their way when the window is full, at least
BLOCK_S: Final = 0.05  # seconds one block may take: smaller ones cost more work, larger ones show late
SECONDS: Final = 0.3  # of the measured rate are on their way, at least
ROUND_TRIPS: Final = 2.5  # of them too: twice is what it takes to see that more would come
PERIOD_S: Final = 0.1  # or a round trip


class Window:
    """Adapts to the rate at which answers come. Sizes in bytes, time from `clock` in seconds."""

    def __init__(self, largest_block: int, clock: Callable[[], float]) -> None:
        self._largest_block = largest_block
        self._clock = clock
        self._since = self._idle_at = clock()
        self._answered = 0
        self.rate = 0.0  # bytes/s, as last measured
        self.size = FIRST
        self.round_trip_s = 0.0

    def begin(self) -> None:
        """The first request after a time without any: that time says nothing about the rate."""
        self._since += self._clock() - self._idle_at

    def answered(self, amount: int, *, last: bool) -> None:
        """Note that `amount` bytes arrived or were confirmed; `last`: nothing else is on its way."""
        self._answered += amount
        if last:
            self._idle_at = self._clock()
        elapsed = self._clock() - self._since
        if elapsed >= max(PERIOD_S, min(self.round_trip_s, SECONDS)):
            self.rate = self._answered / elapsed
            wanted = int(self.rate * max(SECONDS, ROUND_TRIPS * self.round_trip_s))
            # Down only step by step: what was measured while the line got going is little.
            self.size = min(max(wanted, SMALLEST, self.size * 3 // 4), LARGEST)
            self._since += elapsed
            self._answered = 0

    def block(self, limit: int) -> int:
        """Size of the next block, at most `limit` (what the rate limiter wants)."""
        wanted = min(int(self.rate * BLOCK_S), self.size // BLOCKS)
        return max(1, min(max(wanted, SMALLEST_BLOCK), self._largest_block, limit))
