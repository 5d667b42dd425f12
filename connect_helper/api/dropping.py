"""From a drop on a page to grants: what the page says was dropped proves nothing (law 1).

A drag that the system showed does; where there was none, the user is asked. A forged message, a repeated
one and one for another page's drop end in the same question as a drop that the system did not show.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connect_helper.api.callers import Caller
from connect_helper.api.choosing import Choosing
from connect_helper.api.drop_proof import DropProof
from connect_helper.api.drop_search import DropSearch
from connect_helper.api.ladder import Ladder
from connect_helper.consent.drops import Dropped
from connect_helper.errors import InvalidRequest, RequestError
from connect_helper.picking.facts import Picked

log = logging.getLogger(__name__)


class Dropping:
    """Turns drops into grants; one for all faces."""

    def __init__(self, ladder: Ladder, choosing: Choosing, proof: DropProof, search: DropSearch) -> None:
        self._ladder = ladder
        self._choosing = choosing
        self._proof = proof
        self._search = search

    async def prepare(self, caller: Caller) -> bool:
        """A page will take drops; tell whether the system shows drags, so that nothing need be asked.

        Raises TooManyRequests when the page said so just now.
        """
        self._ladder.may_watch_drags(caller)
        return await self._proof.prepare()

    async def watch(self) -> None:
        """A page is back that may have said in an earlier run of the helper that it takes drops."""
        await self._proof.prepare()

    async def find(self, caller: Caller, app_id: str, dropped: Sequence[Dropped]) -> list[Picked]:
        """What was dropped, in the order told, and granted.

        [] when the user declines or may not be asked: page libraries have no error callback here.
        """
        try:
            return await self._find(caller, app_id, dropped) if dropped else []
        except RequestError as error:
            log.info("a drop of %s was not answered with files: %s", caller.origin, error.code)
            return []

    async def close(self) -> None:
        """Stop watching drags."""
        await self._proof.close()

    async def _find(self, caller: Caller, app_id: str, dropped: Sequence[Dropped]) -> list[Picked]:
        arrived = time.monotonic()
        self._ladder.may_report_drop(caller)
        await self._proof.prepare()  # too late for this drop, unless it is watched for; in time for the next
        picked = await self._proof.prove(caller, dropped)
        if picked is None:
            return await self._search.ask(caller, app_id, dropped, arrived=arrived)
        self._choosing.give(caller, app_id, picked)
        self._ladder.note_proved_drop(caller)
        return picked


def read_dropped(value: Any, field: str) -> list[Dropped]:
    """Read the list of a request: `[{name, size, type, lastModifiedDate or lastModified}]`.

    The Connect SDK sends `lastModifiedDate` as ISO 8601 text, the desktop SDK `lastModified` in ms since the
    epoch. Raises InvalidRequest unless it is a list of objects; an odd value in one of them matches nothing.
    """
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise InvalidRequest(f"{field} must be a list of objects.", field=field)
    return [_dropped(entry) for entry in value]


def _dropped(entry: Mapping[str, Any]) -> Dropped:
    name, media_type = entry.get("name"), entry.get("type")
    return Dropped(
        name if isinstance(name, str) else "",
        _size(entry.get("size")),
        media_type if isinstance(media_type, str) else "",
        _modified_ms(entry),
    )


def _size(value: Any) -> int | None:
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and value >= 0 and value % 1 == 0 else -1


def _modified_ms(entry: Mapping[str, Any]) -> float | None:
    number, text = entry.get("lastModified"), entry.get("lastModifiedDate")
    if number is None and text is None:
        return None
    try:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return float(number)
        moment = datetime.fromisoformat(str(text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000
    except (ValueError, OverflowError):
        return float("nan")  # which is no file's time
