"""One request at a time for each upload, with hand-over.

A client whose line broke comes back while the server still waits for the rest of the broken request. So
the newcomer asks the holder to let go; only when that takes too long is it told "locked".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

HANDOVER_LIMIT_S: Final = 10.0


class Busy(Exception):
    """The upload is in use and was not let go in time."""


@dataclass(slots=True)
class Hold:
    """The right to work on one upload."""

    wanted: bool = False
    _let_go: Callable[[], None] | None = None

    def on_wanted(self, let_go: Callable[[], None]) -> None:
        """Have `let_go` called when another request waits for the upload: at once if one does already."""
        self._let_go = let_go
        if self.wanted:
            let_go()

    def want(self) -> None:
        """Ask the holder to end soon."""
        self.wanted = True
        if self._let_go is not None:
            self._let_go()


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hold: Hold | None = None
    waiting: int = 0


class UploadLocks:
    """The locks of all uploads in use, by id."""

    def __init__(self, handover_limit_s: float = HANDOVER_LIMIT_S) -> None:
        self._limit_s = handover_limit_s
        self._entries: dict[str, _Entry] = {}

    def held(self, upload_id: str) -> bool:
        """Whether someone works on the upload or waits to."""
        return upload_id in self._entries

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[Hold]:
        """Work on one upload alone. Raises Busy when its holder does not let go in time."""
        entry = self._entries.setdefault(upload_id, _Entry())
        entry.waiting += 1
        try:
            if entry.hold is not None:
                entry.hold.want()
            await self._acquire(entry)
            try:
                entry.hold = Hold()
                yield entry.hold
            finally:
                entry.hold = None
                entry.lock.release()
        finally:
            entry.waiting -= 1
            if not entry.waiting:
                del self._entries[upload_id]

    async def _acquire(self, entry: _Entry) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                await entry.lock.acquire()
        except TimeoutError:
            raise Busy from None
