"""Drags on macOS: the drag pasteboard holds the files, and its change count tells that another drag began.

The pasteboard keeps the files of the last drag for good, so only what came after `start` counts, and only
from when the mouse button was let go. Which program dragged, and where it was dropped, macOS does not tell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from connect_helper.picking.drags import KEPT_S, PATHS_LIMIT, Drag

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1  # how often the count is read
FOLLOW_S: Final = 0.03  # how often, while a drag lasts
# Browsers mark what is dragged out of a page, which the page may have filled with paths of its making.
_OF_WEB_PAGES: Final = ("org.chromium.", "org.mozilla.", "com.apple.webkit", "webkit")


class DragBoard(Protocol):
    """The drag pasteboard, and the mouse. Each call asks the system and may take a while."""

    def count(self) -> int:
        """Grows with every drag that begins, in any program."""
        ...

    def types(self) -> Sequence[str]:
        """The kinds of data in it: "public.file-url"."""
        ...

    def paths(self) -> Sequence[str]:
        """The absolute paths of the files in it, in order."""
        ...

    def is_button_down(self) -> bool:
        """Whether a mouse button is pressed anywhere."""
        ...


class PasteboardWatch:
    """A DragWatch over a drag pasteboard."""

    def __init__(self, board: DragBoard, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._drops: list[Drag] = []

    async def start(self) -> bool:
        """See `DragWatch.start`."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="drags on the pasteboard")
        return True

    def recent(self) -> Sequence[Drag]:
        """See `DragWatch.recent`."""
        self._drops = [drop for drop in self._drops if self._clock() - drop.dropped_at < KEPT_S]
        return tuple(self._drops)

    async def close(self) -> None:
        """See `DragWatch.close`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._drops.clear()

    async def _watch(self) -> None:
        known = await asyncio.to_thread(self._board.count)
        while True:
            await asyncio.sleep(LOOK_S)
            count = await asyncio.to_thread(self._board.count)
            if count != known:
                known = count
                await self._follow(count)
            self.recent()  # forgets the old ones

    async def _follow(self, count: int) -> None:
        """Read what is dragged at once, and note it when the button is let go."""
        paths = await asyncio.to_thread(self._read)
        while await asyncio.to_thread(self._board.is_button_down):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(FOLLOW_S)
        if paths:
            self._drops.append(Drag(count, paths, self._clock()))

    def _read(self) -> tuple[str, ...]:
        types = [kind.casefold() for kind in self._board.types()]
        if any(kind.startswith(_OF_WEB_PAGES) for kind in types):
            return ()
        return tuple(path for path in self._board.paths() if path.startswith("/"))[:PATHS_LIMIT]
