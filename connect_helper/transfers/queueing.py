"""Who runs and who waits: so many transfers at a time, in the order of their start.

Two transfers of which one writes what the other does, or something below it, do not run at once: the
later one waits, and then meets what the earlier one made as its policy says. What cannot be seen from
here, such as two names for one folder of a server, is left to the sessions, which share no partial file.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
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
        self._running: dict[Entry, Targets] = {}  # with the targets they write
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
        for entry in self._waiting:
            mine = targets(entry.plan)
            if not any(mine.meets(busy) for busy in self._running.values()):
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


@dataclass(frozen=True, slots=True)
class Targets:
    """What a transfer writes, as paths of names to compare."""

    at: frozenset[tuple[str, ...]]  # files and folders
    above: frozenset[tuple[str, ...]]  # all folders above those

    @classmethod
    def of(cls, paths: Iterable[tuple[str, ...]]) -> Targets:
        at, above = frozenset(paths), set[tuple[str, ...]]()
        for path in at:
            folder = path[:-1]
            while folder and folder not in above:
                above.add(folder)
                folder = folder[:-1]
        return cls(at, frozenset(above))

    def meets(self, other: Targets) -> bool:
        """Tell whether a target of one is, or lies below, a target of the other."""
        apart = self.at.isdisjoint(other.at) and self.at.isdisjoint(other.above)
        return not (apart and self.above.isdisjoint(other.at))


def targets(plan: SessionPlan) -> Targets:
    """Return what the plan writes."""
    return Targets.of(_target(plan, item) for item in plan.items)


def _target(plan: SessionPlan, item: Item) -> tuple[str, ...]:
    if isinstance(item, Upload):
        where = (plan.server.host.lower(), str(plan.server.port), plan.login.user)
        return ("remote", *where, *_names(item.target))
    return ("local", *_names(item.root.path), *item.root.below, *item.target)


def _names(path: str) -> tuple[str, ...]:
    """The names of a path, the first "/" of an absolute one: a relative one begins in the login folder."""
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    return ("/", *names) if path.startswith("/") else ("~", *names)
