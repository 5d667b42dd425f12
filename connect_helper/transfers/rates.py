"""Measures what really flows, in kbit/s of 1000 bit. Pure."""

from __future__ import annotations

from collections import deque

WINDOW_S = 3.0  # a rate is the mean over this time
HISTORY_S = 60


class RateMeter:
    """The rate over the last seconds and its history, from readings of a byte count."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()  # (clock, bytes), oldest first
        self._sampled_at = 0.0
        self.history: deque[tuple[float, float]] = deque(maxlen=HISTORY_S)  # (epoch seconds, kbit/s), 1/s

    def restart(self) -> None:
        """Forget the readings: the next one is the new base, so that a resumed part is no burst."""
        self._readings.clear()

    def read(self, *, clock: float, wall: float, count: int) -> float:
        """Take a reading and return the rate; never negative, never NaN."""
        if self._readings and count < self._readings[-1][1]:
            self.restart()
        self._readings.append((clock, count))
        while len(self._readings) > 2 and self._readings[1][0] <= clock - WINDOW_S:
            self._readings.popleft()
        rate = self._rate()
        if not self.history or clock - self._sampled_at >= 1.0:
            self._sampled_at = clock
            self.history.append((wall, rate))
        return rate

    def _rate(self) -> float:
        (first_clock, first), (last_clock, last) = self._readings[0], self._readings[-1]
        seconds = last_clock - first_clock
        # A very short span would show the size of one block as a burst.
        return (last - first) * 8 / 1000 / seconds if seconds >= 0.1 else 0.0
