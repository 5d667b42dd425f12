"""Drops that the system saw: a drag that ended on a window of the asking program proves the page's words."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from connect_helper.api.callers import Caller
from connect_helper.api.peers import find_program_file
from connect_helper.consent.drops import FRESH_S, Claims, Dropped, OnDisk, pair
from connect_helper.errors import InvalidRequest
from connect_helper.picking.drags import Drag, DragWatch
from connect_helper.picking.facts import Picked, look_at, release

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.25  # a page may tell of a drop before the watch has noticed it
RIGHT_NOW_S: Final = 0.5
_LOOK_AGAIN_S: Final = 0.02


class DropProof:
    """Holds what pages tell of drops against what the system showed of drags."""

    def __init__(self, watch: DragWatch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch = watch
        self._clock = clock
        self._claims = Claims()
        self._watching = False

    async def prepare(self) -> bool:
        """Begin to watch; tell whether the system shows drags at all."""
        self._watching = await self._watch.start()
        return self._watching

    async def close(self) -> None:
        """Stop watching."""
        await self._watch.close()

    async def prove(self, caller: Caller, dropped: Sequence[Dropped]) -> list[Picked] | None:
        """What was dropped, in the order of `dropped` and held open for the caller to let go of.

        None when no drag proves it: there was none just now, it was of other things, it ended on another
        program's window, it was claimed already, or too many guessed at it.
        """
        drag = await self._drag_just_dropped(caller)
        if drag is None or not await self._ended_on(drag, caller):
            return None
        if not self._claims.try_once(drag.id, caller.origin):
            return None
        picked = await asyncio.to_thread(_look_at_dragged, drag, dropped)
        if picked is not None and not self._claims.use(drag.id):
            release(picked)
            return None
        return picked

    async def _drag_just_dropped(self, caller: Caller) -> Drag | None:
        """The last drop that the caller may claim.

        One of a second ago may be that of another drag, and the watch about to notice the one that is told.
        """
        if not self._watching:
            return None
        arrived = self._clock()
        while True:
            drag = self._last_claimable(caller, arrived)
            is_right_now = drag is not None and arrived - drag.dropped_at < RIGHT_NOW_S
            if is_right_now or self._clock() - arrived > SETTLE_S:
                return drag
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _last_claimable(self, caller: Caller, arrived: float) -> Drag | None:
        fresh = [drag for drag in self._watch.recent() if arrived - drag.dropped_at <= FRESH_S]
        claimable = [drag for drag in fresh if self._claims.may_try(drag.id, caller.origin)]
        return claimable[-1] if claimable else None

    async def _ended_on(self, drag: Drag, caller: Caller) -> bool:
        """Whether the drag came from elsewhere and ended on the caller's program.

        Without this, a page could claim what is dragged from one folder to another, and fill a drag of
        something in the page with paths of its own.
        """
        if drag.target is None and drag.source is None:  # the system does not tell
            return True
        program = await asyncio.to_thread(find_program_file, caller.connection)
        return bool(program) and drag.target == program and drag.source != program


def _look_at_dragged(drag: Drag, dropped: Sequence[Dropped]) -> list[Picked] | None:
    """Look at what was dragged, never at what the page names; None when the two are not the same."""
    if len(drag.paths) != len(dropped):
        return None
    try:
        seen = look_at(map(Path, drag.paths), save=False)
    except InvalidRequest as error:
        log.info("a dragged file cannot be used: %s", error.code)
        return None
    things = [on_disk(path, picked) for path, picked in zip(drag.paths, seen, strict=True)]
    places = pair(dropped, things)
    if places is None:
        release(seen)
        return None
    return [seen[place] for place in places]


def on_disk(path: str, picked: Picked) -> OnDisk:
    """What was found at `path`, under the name it has there: where it is a link, a browser tells that one."""
    name = os.path.basename(path.rstrip("/"))  # noqa: PTH119 - no Path: odd bytes stay as they are
    return OnDisk(name, picked.kind == "folder", picked.size, picked.mtime_ns / 1_000_000)
