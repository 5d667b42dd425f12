"""Keeps the limits of all uploads and all downloads by giving each running session its share."""

from __future__ import annotations

from dataclasses import replace

from connect_helper.settings import Preferences, PreferencesStore
from connect_helper.spec.rates import rate_wish, share_limit
from connect_helper.transfers.entry import Entry
from connect_helper.transfers.messages import SetRate


class Throttle:
    """Knows the sessions that run; `plan.rate_kbps` of an entry is the transfer's own limit."""

    def __init__(self, preferences: PreferencesStore) -> None:
        self._preferences = preferences
        self._given: dict[Entry, int | None] = {}  # what each session was told last
        preferences.on_change(self._preferences_changed)

    def join(self, entry: Entry) -> int | None:
        """Count a session in and return its rate; the others get less from now on."""
        self._given[entry] = None
        self._given[entry] = self._shares(entry.transfer.direction)[entry.transfer.id]
        self.recompute()
        return self._given[entry]

    def leave(self, entry: Entry) -> None:
        """Count a session out; the others get more. Idempotent."""
        if entry in self._given:
            del self._given[entry]
            self.recompute()

    def recompute(self) -> None:
        """Tell every session whose share is another now."""
        for direction in ("send", "receive"):
            shares = self._shares(direction)
            for entry in self._given:
                if entry.transfer.direction != direction:
                    continue
                rate = shares[entry.transfer.id]
                if rate != self._given[entry]:
                    self._given[entry] = rate
                    if entry.worker is not None:
                        entry.worker.post(SetRate(rate_kbps=rate))

    def _shares(self, direction: str) -> dict[str, int | None]:
        preferences = self._preferences.current
        sending = direction == "send"
        total = preferences.upload_limit_kbps if sending else preferences.download_limit_kbps
        wishes = {
            entry.transfer.id: replace(rate_wish(entry.transfer.spec), target_kbps=entry.plan.rate_kbps)
            for entry in self._given
            if entry.transfer.direction == direction
        }
        return share_limit(total, wishes)

    def _preferences_changed(self, _: Preferences) -> None:
        self.recompute()
