"""The rates that somebody set for transfers while they ran, beside the caps of accounts and tokens.

A client comes back after a loss, opens several connections, or goes on over HTTP: each is a session of its
own, and the transfer is the same. A rate that was set is that of the transfer, so all its sessions share it,
also those that come later. What tells a transfer from others is its token; without one nothing does but the
account, the client's address and the cookie if there is one, so what one account moves from one address
counts as one transfer.

A rate is kept in memory: as long as its token is good, and in any case until it was not used for a day, or
for an hour without a token. Belongs to the event loop's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from connect_helper.server.access import Access
from connect_helper.server.rate import RateLimit
from connect_helper.server.session_reports import Way
from connect_helper.server.tokens import UNDER_WAY_S

LIMIT: Final = 10_000  # transfers with rates; the oldest ones go
KEPT_S: Final = 3600.0  # after the last byte, where there is no token
Transfer = tuple[str, ...]


def transfer_of(access: Access, peer: str, cookie: str | None) -> Transfer:
    """What sessions of one transfer have in common; `peer` is the client's address."""
    if access.token is not None:
        return ("token", access.account.name, access.token.id)
    return ("account", access.account.name, peer, cookie or "")


@dataclass(slots=True)
class _Rates:
    good_until: float  # end of the token, seconds since the epoch; 0: there is none
    kept_s: float
    used_at: float  # seconds that only go on: a clock that is put right must not lift the limit of what runs
    limits: dict[Way, RateLimit] = field(default_factory=dict)

    def over(self, now: float, at: float) -> bool:
        return now > self.good_until and at > self.used_at + self.kept_s


class SetRates:
    """All rates that were set."""

    def __init__(
        self, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._transfers: dict[Transfer, _Rates] = {}

    def limit(self, transfer: Transfer, way: Way) -> RateLimit | None:
        """The limit that all sessions of a transfer share; None: nobody set one."""
        rates = self._transfers.get(transfer)
        if rates is None:
            return None
        at = self._ticks()
        if rates.over(self._clock(), at):
            del self._transfers[transfer]
            return None
        rates.used_at = at
        return rates.limits.get(way)

    def change(self, transfer: Transfer, access: Access, way: Way, kbps: int | None) -> None:
        """Set a rate, kbit/s, or lift it; who waits notices at once."""
        limit = self.limit(transfer, way)
        if limit is not None:
            limit.change(kbps)
        if kbps is None:
            self._lift(transfer, way)
        elif limit is None:
            self._entry(transfer, access).limits[way] = RateLimit(kbps)

    def _lift(self, transfer: Transfer, way: Way) -> None:
        rates = self._transfers.get(transfer)
        if rates is not None:
            rates.limits.pop(way, None)
            if not rates.limits:
                del self._transfers[transfer]

    def _entry(self, transfer: Transfer, access: Access) -> _Rates:
        if transfer not in self._transfers:
            self._make_room()
            token = access.token
            until, kept_s = (0.0, KEPT_S) if token is None else (float(token.expires_at), float(UNDER_WAY_S))
            self._transfers[transfer] = _Rates(until, kept_s, self._ticks())
        return self._transfers[transfer]

    def _make_room(self) -> None:
        """Forget what is over; beyond the limit what was set first."""
        now, at = self._clock(), self._ticks()
        for transfer in [one for one, rates in self._transfers.items() if rates.over(now, at)]:
            del self._transfers[transfer]
        while len(self._transfers) >= LIMIT:
            del self._transfers[next(iter(self._transfers))]
