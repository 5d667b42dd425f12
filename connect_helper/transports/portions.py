"""What each of several connections takes next of one file that they share. Pure.

One may be five times as quick as another on the same line. So each takes what it moves in a moment, and
towards the end one that would be last takes no more: the others have the rest moved before. Bytes, seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

SLACK_S: Final = 0.2  # how much later than the others one may be


class Portions:
    """The connections at work on one file, by whatever names them."""

    def __init__(self, first: int, portion_s: float) -> None:
        """`first`: what one takes whose rate is not known; `portion_s`: how long it lasts, about."""
        self._first = first
        self._portion_s = portion_s
        self._rates: dict[Hashable, float] = {}

    def moved(self, lane: Hashable, amount: int, took_s: float) -> None:
        """A connection has moved its part."""
        self._rates[lane] = amount / max(took_s, 0.001)

    def gone(self, lane: Hashable) -> None:
        """A connection takes no more."""
        self._rates.pop(lane, None)

    def wanted(self, lane: Hashable) -> int:
        """How large a part is best."""
        rate = self._rates.get(lane)
        return self._first if rate is None else int(rate * self._portion_s)

    def would_be_last(self, lane: Hashable, size: int, left: int) -> bool:
        """Tell whether the others would have moved all that is left before `lane` has a part of `size`."""
        rate = self._rates.get(lane)
        others = sum(self._rates.values()) - (rate or 0.0)
        if rate is None or others <= 0:
            return False
        return size / rate > left / others + SLACK_S
