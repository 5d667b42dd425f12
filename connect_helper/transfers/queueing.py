"""Who runs and who waits: so many transfers at a time, in the order of their start.

Two transfers to the same target never run at once, since they would write into one partial file: the
later one waits, and then meets what the earlier one made as its policy says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from connect_helper.settings import Preferences, PreferencesStore
from connect_helper.transfers.entry import Entry, Wish
from connect_helper.transfers.plan import Item, SessionPlan, Upload
from connect_helper.transfers.runner import Runner
from connect_helper.transfers.state import Status

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Queue:
    """Starts runners. A transfer that waits for another try keeps its slot."""

    def __init__(self, runner: Runner, preferences: PreferencesStore, spawn: Spawn) -> None:
        self._runner = runner
        self._preferences = preferences
        self._spawn = spawn
        self._waiting: deque[Entry] = deque()
        self._running: dict[Entry, frozenset[tuple[str, ...]]] = {}  # with the targets they write
        self._closed = False
        preferences.on_change(self._preferences_changed)

    @property
    def running(self) -> list[Entry]:
        """Those that hold a slot."""
        return list(self._running)

    def add(self, *entries: Entry) -> None:
        """Put queued transfers at the end."""
        self._waiting.extend(entries)
        self._dispatch()

    def withdraw(self, entry: Entry) -> None:
        """Take one out that waits; it may be gone already."""
        if entry in self._waiting:
            self._waiting.remove(entry)

    def close(self) -> None:
        """Start nothing any more."""
        self._closed = True

    def _dispatch(self) -> None:
        slots = self._preferences.current.concurrent_transfers
        while not self._closed and len(self._running) < slots and (entry := self._next()):
            self._start(entry)

    def _next(self) -> Entry | None:
        busy = frozenset[tuple[str, ...]]().union(*self._running.values())
        for entry in self._waiting:
            if busy.isdisjoint(targets(entry.plan)):
                self._waiting.remove(entry)
                return entry
        return None

    def _start(self, entry: Entry) -> None:
        entry.wish, entry.stop_by, entry.suspect = Wish.NONE, None, False
        entry.wake.clear()
        self._running[entry] = targets(entry.plan)
        entry.runner = self._spawn(self._runner.run(entry), f"transfer-{entry.transfer.id}")
        entry.runner.add_done_callback(self._when_done(entry))

    def _when_done(self, entry: Entry) -> Callable[[asyncio.Task[None]], None]:
        def done(runner: asyncio.Task[None]) -> None:
            entry.runner = None
            del self._running[entry]
            if runner.cancelled() or runner.exception() is not None:
                return  # the program ends; the group tells why
            if entry.transfer.status is Status.QUEUED:
                self._waiting.appendleft(entry)  # it had its turn: resumed between two tries
            self._dispatch()

        return done

    def _preferences_changed(self, _: Preferences) -> None:
        self._dispatch()


def targets(plan: SessionPlan) -> frozenset[tuple[str, ...]]:
    """Return what the plan writes, as keys to compare."""
    return frozenset(_target(plan, item) for item in plan.items)


def _target(plan: SessionPlan, item: Item) -> tuple[str, ...]:
    if isinstance(item, Upload):
        return ("remote", plan.server.host.lower(), str(plan.server.port), plan.login.user, item.target)
    return ("local", item.root.path, *item.root.below, *item.target)
