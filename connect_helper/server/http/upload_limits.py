"""What uploads may take: how many of an account are open, how much of the disk, how long they are kept.

Many people may hold tokens of one account, so none of them takes all of it away from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import Problem, disk_full
from connect_helper.server.http.upload_records import Unfinished
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.storage.docpath import ROOT

PROMISE_S: Final = 3600.0  # how long room is kept for an upload that does not move
MOVING_S: Final = 300.0  # how long after its last bytes an upload counts as being under way
LEAST_SHARE: Final = 65  # uploads that any token may have open where so many are free: a file in 64 parts


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What the operator allows."""

    unfinished_s: float = 7 * 86_400  # uploads left alone so long are removed
    unfinished_per_account: int = 10_000
    idle_s: float = 60.0  # a body that brings next to nothing for so long is given up
    keep_free_percent: float = 1.0  # of the disk


class UploadRoom:
    """Tells whether one more upload may begin."""

    def __init__(self, store: UploadStore, limits: UploadLimits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    async def check_count(self, caller: Caller) -> None:
        """Raise Problem (429) when too many uploads of the account are open, or somebody has too many.

        As long as half is free, any token may take it. Beyond that none goes on with more than a quarter, but
        for a file in parts. Not to be asked about joining parts: that makes fewer of them.
        """
        limit, half = self._limits.unfinished_per_account, self._limits.unfinished_per_account // 2
        found = await self._unfinished(caller)
        count, own = sum(each.count for each in found.values()), found.get(caller.token_id, Unfinished())
        share = max(limit // 4, min(LEAST_SHARE, limit))
        if count >= limit:
            raise _too_many("Too many uploads are unfinished; finish or cancel some of them.")
        if caller.token_id is not None and count >= half and own.count >= share:
            raise _too_many("Too many uploads of this token are unfinished; finish or cancel some of them.")

    async def check_space(self, caller: Caller, length: int | None) -> None:
        """Raise Problem (507) unless `length` more bytes fit beside what the account's uploads promise.

        None: nobody knows how many. What uploads really bring is looked at once more as they come. So what
        others promise and do not bring may be believed in part: each token's counts for a quarter of the room
        at most.
        """
        if length == 0:
            return
        found = await self._unfinished(caller)
        facts = await self._store.on_disk(caller.docroot.statvfs, ROOT)
        reserve = facts.f_blocks * facts.f_frsize * self._limits.keep_free_percent / 100
        room = facts.f_bavail * facts.f_frsize - reserve
        own = found.pop(caller.token_id, Unfinished()).promised
        idle_most = max(room, 0) / 4
        others = sum(min(each.promised, max(each.moving, idle_most)) for each in found.values())
        if room - own - others < (length or 1):
            raise disk_full()

    async def _unfinished(self, caller: Caller) -> dict[str | None, Unfinished]:
        fresh = self._clock() + self._limits.unfinished_s
        return await self._store.unfinished(caller.account, alive=fresh - PROMISE_S, moving=fresh - MOVING_S)


def _too_many(sentence: str) -> Problem:
    return Problem(429, "too_many_uploads", sentence, headers={"Retry-After": "60"})
