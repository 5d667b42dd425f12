"""Drags on an X11 desktop: whoever drags owns the selection XdndSelection while the drag lasts.

The X server tells by XFixes when the owner changes. The paths are asked for at once, for after the drop
nobody owns the selection any more. Where the mouse button is let go tells the program that got the drop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from Xlib.display import Display
from Xlib.error import ConnectionClosedError, DisplayError, XError
from Xlib.ext import xfixes
from Xlib.protocol.rq import Event

from connect_helper.consent.drops import shows_web_pages
from connect_helper.picking.drags import KEPT_S, Drag, local_paths
from connect_helper.picking.x11_programs import Programs
from connect_helper.picking.x11_selection import SelectionReader

logger = logging.getLogger(__name__)

FOLLOW_S: Final = 0.03  # how often the pointer is looked at while a drag lasts
_JOIN_S: Final = 2.0
_OWNER_CHANGES: Final = 0b111  # a new one, its window destroyed, its program ended


class X11DragWatch:
    """A DragWatch on the display named `display` (":0"). The X connection lives in a thread of its own."""

    def __init__(self, display: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._changing = asyncio.Lock()
        self._thread: threading.Thread | None = None
        self._end_of_watch = -1  # closed, it ends the thread
        self._numbers = count(1)
        self._drops: dict[int, Drag] = {}
        self._writing = threading.Lock()

    async def start(self) -> bool:
        """See `DragWatch.start`. Where the X server went away and came back, it begins anew."""
        async with self._changing:
            if self._thread is not None and self._thread.is_alive():
                return True
            self._let_go()
            follower = await asyncio.to_thread(self._connect)
            if follower is None:
                return False
            until, self._end_of_watch = os.pipe()
            self._thread = threading.Thread(
                target=self._watch, args=(follower, until), name=f"drags on {self._display}", daemon=True
            )
            self._thread.start()
            return True

    def recent(self) -> Sequence[Drag]:
        """See `DragWatch.recent`."""
        with self._writing:
            return [drag for drag in self._drops.values() if self._clock() - drag.dropped_at < KEPT_S]

    async def close(self) -> None:
        """See `DragWatch.close`."""
        async with self._changing:
            thread, self._thread = self._thread, None
            self._let_go()
            if thread is not None:
                await asyncio.to_thread(thread.join, _JOIN_S)
            self._drops.clear()

    def _let_go(self) -> None:
        if self._end_of_watch >= 0:
            os.close(self._end_of_watch)
            self._end_of_watch = -1

    def _connect(self) -> _Follower | None:
        try:
            display = Display(self._display)
            if display.has_extension("XFIXES"):
                return _Follower(display, self._clock, self._numbers, self._keep)
            logger.info("drags cannot be watched on %s: it has no XFixes", self._display)
            display.close()
        except (DisplayError, XError, ConnectionClosedError, OSError) as error:
            logger.info("drags cannot be watched on %s: %s", self._display, type(error).__name__)
        return None

    # In the thread -----------------------------------------------------------------------------

    def _watch(self, follower: _Follower, until: int) -> None:
        try:
            while not follower.wait(until, KEPT_S if self._drops else None):
                self._forget_old()
        except (XError, ConnectionClosedError, OSError) as error:
            logger.warning("drags are not watched any more: %s", type(error).__name__)
        finally:
            os.close(until)
            follower.close()

    def _keep(self, drop: Drag) -> None:
        with self._writing:
            self._drops[drop.id] = drop

    def _forget_old(self) -> None:
        fresh = self.recent()
        with self._writing:
            self._drops = {drop.id: drop for drop in fresh}


@dataclass(slots=True)
class _UnderWay:
    """The drag that goes on, or went on last."""

    id: int
    window: int  # of the program that drags
    source: str
    paths: tuple[str, ...] | None = None  # None until the source has told them
    dropped_at: float | None = None
    target: str = ""


class _Follower:
    """Follows one drag after the other; tells `keep` of each drop, and again when its time moves."""

    def __init__(
        self,
        display: Display,
        clock: Callable[[], float],
        numbers: Iterator[int],
        keep: Callable[[Drag], None],
    ) -> None:
        self._display: Any = display
        self._clock = clock
        self._numbers = numbers
        self._keep = keep
        self._programs = Programs(display)
        self._selection = display.intern_atom("XdndSelection")
        self._reader = SelectionReader(display, self._selection, "text/uri-list")
        self._drag: _UnderWay | None = None
        display.set_error_handler(lambda *_: None)  # else it prints; a window that just closed is no matter
        self._display.xfixes_query_version()
        root = display.screen().root
        self._display.xfixes_select_selection_input(root, self._selection, _OWNER_CHANGES)
        display.sync()

    def close(self) -> None:
        """Disconnect."""
        with suppress(ConnectionClosedError, OSError):  # it is closed already
            self._display.close()

    def wait(self, until: int, at_most_s: float | None) -> bool:
        """Handle what happens next; True once `until` can be read, which is to end it all."""
        while self._display.pending_events():
            self._note(self._display.next_event())
        lasts = self._drag is not None and self._drag.dropped_at is None
        if lasts:
            self._follow_pointer()
        if self._display.pending_events():  # they came with an answer, and select would not see them
            return False
        ready, _, _ = select.select([self._display, until], [], [], FOLLOW_S if lasts else at_most_s)
        return until in ready

    def _note(self, event: Event) -> None:
        if isinstance(event, xfixes.SelectionNotify):
            if event.selection == self._selection:
                self._owner_changed(event)
            return
        answer = self._reader.take(event)
        if answer is not None and self._drag is not None:
            self._drag.paths = local_paths(answer)
            self._tell()

    def _owner_changed(self, event: Any) -> None:
        owner = getattr(event.owner, "id", 0)
        if not owner:
            self._ended()
            return
        self._drag = _UnderWay(next(self._numbers), owner, self._programs.of_window(owner))
        if self._drag.source and not shows_web_pages(self._drag.source):
            self._reader.ask(event.selection_timestamp)

    def _follow_pointer(self) -> None:
        """Notice that the button is let go. What the drag was let go on is decided by the place of that."""
        drag = self._drag
        x, y, pressed = self._programs.pointer()
        if drag is None or pressed:
            return
        drag.dropped_at = self._clock()
        drag.target = self._programs.at(x, y, dragging=drag.window)
        self._tell()

    def _ended(self) -> None:
        """The source is done: after a drop when the target has taken it, or because the user gave it up."""
        if self._drag is None:
            return
        if self._drag.dropped_at is None:
            self._follow_pointer()
        elif self._clock() - self._drag.dropped_at < KEPT_S:
            self._drag.dropped_at = self._clock()
            self._tell()
        self._drag = None

    def _tell(self) -> None:
        drag = self._drag
        if drag is not None and drag.paths and drag.dropped_at is not None:
            self._keep(Drag(drag.id, drag.paths, drag.dropped_at, drag.source, drag.target))
