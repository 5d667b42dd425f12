"""Taking turns: what each page may have under way at once, so that no page uses the helper up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from connect_helper.errors import TooManyRequests

AT_ONCE: Final = 2
WAITING: Final = 8
_RETRY_AFTER_S: Final = 2


@dataclass(slots=True)
class _Line:
    places: asyncio.Semaphore  # first come, first served
    present: int = field(default=0)  # under way and waiting


class Turns:
    """Gives each origin `at_once` turns; up to `waiting` more wait in order, the rest is turned away."""

    def __init__(self, *, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._at_once = at_once
        self._room = at_once + waiting
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def take(self, origin: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises TooManyRequests when too many wait already."""
        line = self._lines.setdefault(origin, _Line(asyncio.Semaphore(self._at_once)))
        if line.present >= self._room:
            raise TooManyRequests(
                "This page reads too many files at once; let some reads finish first.",
                retry_after=_RETRY_AFTER_S,
            )
        line.present += 1
        try:
            async with line.places:
                yield
        finally:
            line.present -= 1
            if not line.present:
                del self._lines[origin]
