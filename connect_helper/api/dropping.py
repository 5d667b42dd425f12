"""From a drop on a page to grants: what the page says was dropped proves nothing (law 1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from connect_helper.api.callers import Caller
from connect_helper.api.choosing import Choosing
from connect_helper.api.ladder import Ladder
from connect_helper.errors import InvalidRequest, RequestError
from connect_helper.picking.base import DialogRequest
from connect_helper.picking.facts import Picked
from connect_helper.spec.names import page_text

log = logging.getLogger(__name__)

Dropped = Sequence[Mapping[str, Any]]
"""What a browser tells a page: `[{"name", "size", "type", ...}]`, names without folders."""


class Dropping:
    """Finds dropped files with the user's help; one for all faces."""

    def __init__(self, ladder: Ladder, choosing: Choosing) -> None:
        self._ladder = ladder
        self._choosing = choosing

    async def prepare(self, caller: Caller) -> bool:
        """A page will take drops; tell whether the system shows them, so that nothing need be asked.

        It does not: the dialog of `find` proves a drop. Raises TooManyRequests when it was said just now.
        """
        self._ladder.may_watch_drags(caller)
        return False

    async def find(self, caller: Caller, app_id: str, dropped: Dropped) -> Sequence[Picked]:
        """Ask the user to find what was dropped; in the order of the drop, and granted.

        [] when the user declines or may not be asked: page libraries have no error callback here.
        """
        try:
            return await self._find(caller, app_id, dropped)
        except RequestError as error:
            log.info("a drop of %s was not answered with files: %s", caller.origin, error.code)
            return []

    async def _find(self, caller: Caller, app_id: str, dropped: Dropped) -> Sequence[Picked]:
        if not dropped:
            return []
        self._ladder.may_report_drop(caller)
        names = [name if isinstance(name := entry.get("name"), str) else "" for entry in dropped]
        shown = ", ".join(page_text(name, 40) for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        dialog = DialogRequest(
            kind="open-folder" if all(_looks_like_folder(entry) for entry in dropped) else "open-file",
            caller=caller.label,
            title=f"Find what you dropped: {shown}{more}",
            multiple=len(names) > 1,
        )
        picked = await self._choosing.choose(caller, app_id, dialog)
        order = {name: position for position, name in enumerate(names)}
        return sorted(picked, key=lambda item: order.get(item.path.rsplit("/", 1)[-1], len(order)))


def read_dropped(value: Any, field: str) -> Dropped:
    """Check the list of a request. Raises InvalidRequest."""
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise InvalidRequest(f"{field} must be a list of objects.", field=field)
    return value


def _looks_like_folder(entry: Mapping[str, Any]) -> bool:
    """Browsers give folders no type, and 0 or a block size as size; names with an ending are files."""
    size, name = entry.get("size"), entry.get("name")
    block = not size or (isinstance(size, int) and size % 4096 == 0)
    return not entry.get("type") and block and isinstance(name, str) and "." not in name.strip(".")
