"""A transfer in the manager's hands: what is shown, what is kept, and what is going on with it now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from connect_helper.transfers.figures import Figures
from connect_helper.transfers.plan import Login, SessionPlan
from connect_helper.transfers.records import Record, without_secrets
from connect_helper.transfers.transfer import Transfer
from connect_helper.transfers.workers import Worker


@dataclass(frozen=True, slots=True)
class Listed:
    """A transfer as it is shown, with what is known beside it."""

    transfer: Transfer
    position: int  # order of submission
    plan: SessionPlan  # without secrets, as it would run now
    needs_login: bool  # a resume has to bring a new login
    rates_kbps: tuple[float, ...]  # of the last minute of data, one a second, the newest last


class Wish(Enum):
    """What somebody wants of a transfer that its runner has in hand."""

    NONE = auto()
    STOP = auto()
    REQUEUE = auto()  # resume while it waits for another try
    CLOSE = auto()  # the helper ends: leave everything as it is


@dataclass(slots=True, eq=False, repr=False)
class Entry:
    """No repr: it holds secrets. `login` is the one place they live, and only as long as they are of use."""

    transfer: Transfer
    position: int  # order of submission
    plan: SessionPlan  # without secrets
    login: Login | None  # None: secrets were needed and are gone
    needs_login: bool
    retry_for_s: float | None
    figures: Figures
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one request for a change at a time
    moving: bool = False  # a move is on its way to disk
    wish: Wish = Wish.NONE
    because: str = ""  # with Wish.STOP: what the user is told, where it was not their wish
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # ends a wait for another try
    suspect: bool = False  # the machine slept: the connection is not to be trusted
    stop_by: float | None = None  # monotonic; the worker has that long to stop
    worker: Worker | None = None  # while a session runs
    runner: asyncio.Task[None] | None = None
    published_at: float = 0.0  # monotonic, of the last news of progress
    saved_at: float = 0.0  # monotonic, of the last progress on its way to disk
    kept: tuple[Mapping[str, Any], SessionPlan] | None = None  # the spec and plan that are on disk

    @classmethod
    def of(cls, record: Record, login: Login | None) -> Entry:
        return cls(
            transfer=record.transfer,
            position=record.position,
            plan=without_secrets(record.plan),
            login=login,
            needs_login=record.needs_login,
            retry_for_s=record.retry_for_s,
            figures=Figures(record.transfer),
        )

    def listed(self) -> Listed:
        """Return what is shown of it."""
        rates = tuple(kbps for _, kbps in self.figures.rates)
        return Listed(self.transfer, self.position, self.plan, self.login is None, rates)

    def record(self, transfer: Transfer | None = None) -> Record:
        """Return what the journal keeps, of `transfer` when it is to become that."""
        return Record(transfer or self.transfer, self.position, self.plan, self.needs_login, self.retry_for_s)
