"""Tells the log of refused logins: each one, but no more than so many a minute of each kind.

A flood must neither fill the disk with lines nor hide what else is refused meanwhile. What got no line is
counted and told in one; the metrics count every refusal anyhow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LINES: Final = 60  # of one kind in one period
PERIOD_S: Final = 60.0
_MAX_NAME: Final = 128  # characters of a user name

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Period:
    """Refusals of one kind since `begin` (seconds)."""

    begin: float
    lines: int = 0
    untold: int = 0


class RefusalLog:
    """Belongs to the event loop's thread. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._periods: dict[tuple[str, str], _Period] = {}

    def tell(self, user: str | None, address: str, via: str, code: str, reason: str) -> None:
        """Write a line about one refused login, or count it when its kind has had its lines."""
        period = self._period(via, code)
        if period.lines >= LINES:
            period.untold += 1
            return
        period.lines += 1
        name = None if user is None else user[:_MAX_NAME]
        _log.info("login refused: user=%r address=%s via=%s: %s", name, address, via, reason)

    def close(self) -> None:
        """Tell what was only counted so far."""
        for kind, period in self._periods.items():
            _tell_rest(kind, period)
        self._periods.clear()

    def _period(self, via: str, code: str) -> _Period:
        kind, now = (via, code), self._clock()
        period = self._periods.get(kind)
        if period is None or not 0 <= now - period.begin < PERIOD_S:
            if period is not None:
                _tell_rest(kind, period)
            period = self._periods[kind] = _Period(now)
        return period


def _tell_rest(kind: tuple[str, str], period: _Period) -> None:
    if period.untold:
        via, code = kind
        _log.info("logins refused: %s more without a line each, via=%s: %s", period.untold, via, code)
